#include "model/sequence_runner.h"

#include <numeric>
#include <utility>

namespace tetrad {

Result<SequenceRunner> SequenceRunner::create(MiniMaxM2& model, const KvCacheFormat& kv_cache,
                                              int64_t max_tokens) {
  const int64_t num_blocks = kv_blocks_for(max_tokens);
  TETRAD_ASSIGN(KvCache cache,
                KvCache::create(model.config(), kv_cache.dtype, num_blocks, kv_cache.scales));
  return SequenceRunner(model, std::move(cache), max_tokens);
}

SequenceRunner::SequenceRunner(MiniMaxM2& model, KvCache cache, int64_t max_tokens)
    : model_(&model),
      cache_(std::move(cache)),
      max_tokens_(max_tokens),
      block_table_(static_cast<size_t>(cache_.num_blocks())) {
  std::iota(block_table_.begin(), block_table_.end(), 0);
}

Result<Activations> SequenceRunner::append(std::span<const int32_t> ids, Logits logits,
                                           const Observer* observer) {
  const auto count = static_cast<int64_t>(ids.size());
  if (count == 0) return fail(ErrorCode::invalid_argument, "there are no tokens to compute");
  if (count > max_tokens_ - length_) {
    return fail(ErrorCode::resource_exhausted, "{} tokens exceed the limit of {}", length_ + count,
                max_tokens_);
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= model_->config().vocab_size) {
      return fail_param("ids", "ids[{}] = {} is outside the vocabulary of {}", i, ids[i],
                        model_->config().vocab_size);
    }
  }
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
  return model_->forward(batch, cache_, observer);
}

}  // namespace tetrad
