#include "model/sequence_runner.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace tetrad {

Result<SequenceRunner> SequenceRunner::create(DeviceModel& model, int64_t max_tokens) {
  const StepLimits limits{.max_model_len = max_tokens,
                          .max_num_seqs = 1,
                          .max_num_batched_tokens = std::min(max_tokens, kMaxTokensOfAStep),
                          .one_sequence = true};
  TETRAD_ASSIGN(StartedModel started,
                model.start(limits, {.bytes = kv_blocks_for(max_tokens) * model.kv_block_bytes()}));
  return SequenceRunner(model.config(), std::move(started.steps), started.num_kv_blocks, max_tokens,
                        kMaxTokensOfAStep);
}

Result<SequenceRunner> SequenceRunner::create(MiniMaxM2& model, const KvCacheFormat& kv_cache,
                                              int64_t max_tokens) {
  const int64_t num_blocks = kv_blocks_for(max_tokens);
  TETRAD_ASSIGN(KvCache cache,
                KvCache::create(model.local_config(), kv_cache.dtype, num_blocks, kv_cache.scales));
  auto steps = std::make_unique<CachedModel>(model, std::move(cache));
  CachedModel* observable = steps.get();
  SequenceRunner runner(model.config(), std::move(steps), num_blocks, max_tokens,
                        std::numeric_limits<int64_t>::max());
  runner.observable_ = observable;
  return runner;
}

SequenceRunner::SequenceRunner(const ModelConfig& config, std::unique_ptr<StepModel> steps,
                               int64_t num_kv_blocks, int64_t max_tokens, int64_t max_step)
    : vocab_size_(config.vocab_size),
      steps_(std::move(steps)),
      max_tokens_(max_tokens),
      max_step_(max_step),
      block_table_(static_cast<size_t>(num_kv_blocks)) {
  std::iota(block_table_.begin(), block_table_.end(), 0);
}

Result<void> SequenceRunner::check(std::span<const int32_t> ids, Logits logits) const {
  const auto count = static_cast<int64_t>(ids.size());
  if (count == 0) return fail(ErrorCode::invalid_argument, "there are no tokens to compute");
  if (count > max_tokens_ - length_) {
    return fail(ErrorCode::resource_exhausted, "{} tokens exceed the limit of {}", length_ + count,
                max_tokens_);
  }
  if (logits == Logits::every_token && count > max_step_) {
    return fail(ErrorCode::resource_exhausted,
                "the logits of {} tokens are asked for at once, and a step has {} at most", count,
                max_step_);
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size_) {
      return fail_param("ids", "ids[{}] = {} is outside the vocabulary of {}", i, ids[i],
                        vocab_size_);
    }
  }
  return {};
}

Result<Activations> SequenceRunner::append(std::span<const int32_t> ids, Logits logits,
                                           const Observer* observer) {
  TETRAD_TRY(check(ids, logits));
  if (observer != nullptr && observable_ == nullptr) {
    return fail(ErrorCode::unsupported, "only on the processors can a forward pass be observed");
  }
  while (static_cast<int64_t>(ids.size()) > max_step_) {
    const auto piece = static_cast<size_t>(max_step_);
    TETRAD_TRY(step(ids.first(piece), logits, observer));
    ids = ids.subspan(piece);
  }
  return step(ids, logits, observer);
}

Result<Activations> SequenceRunner::step(std::span<const int32_t> ids, Logits logits,
                                         const Observer* observer) {
  const auto count = static_cast<int64_t>(ids.size());
  std::vector<int32_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(length_));
  // Blocks are in order, so slots are positions.
  const std::vector<int64_t> slot_mapping(positions.begin(), positions.end());
  std::vector<int32_t> logits_rows(logits == Logits::every_token ? ids.size() : 1);
  std::iota(logits_rows.begin(), logits_rows.end(),
            logits == Logits::every_token ? 0 : static_cast<int32_t>(count - 1));
  const SequenceSlice slice{
      .query_start = 0, .query_len = count, .context_len = length_, .block_table = block_table_};
  const Batch batch{.token_ids = ids,
                    .positions = positions,
                    .slot_mapping = slot_mapping,
                    .sequences = {&slice, 1},
                    .logits_rows = logits_rows};
  length_ += count;
  if (observer != nullptr) return observable_->forward(batch, observer);
  return steps_->forward(batch);
}

}  // namespace tetrad
