// What one rank takes from another, from anywhere: the head of a message, a start, a step. A step
// that is taken is within what was agreed, and is sent as it came.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "model/rank_step.h"
#include "parallel/rank_messages.h"

namespace {

using tetrad::Batch;
using tetrad::RankStepLimits;

constexpr RankStepLimits kFuzzLimits{.vocab_size = 100,
                                     .max_model_len = 64,
                                     .max_num_seqs = 4,
                                     .max_num_batched_tokens = 40,
                                     .num_kv_blocks = 9};

bool is_within_limits(const Batch& batch) {
  if (batch.num_tokens() > kFuzzLimits.max_num_batched_tokens) return false;
  if (std::ssize(batch.sequences) > kFuzzLimits.max_num_seqs) return false;
  for (size_t i = 0; i < batch.token_ids.size(); ++i) {
    if (batch.token_ids[i] < 0 || batch.token_ids[i] >= kFuzzLimits.vocab_size) return false;
    if (batch.positions[i] < 0 || batch.positions[i] >= kFuzzLimits.max_model_len) return false;
    const int64_t block = batch.slot_mapping[i] / tetrad::kKvBlockSize;
    if (batch.slot_mapping[i] < 0 || block >= kFuzzLimits.num_kv_blocks) return false;
  }
  return std::ranges::all_of(batch.logits_rows,
                             [&](int32_t row) { return row >= 0 && row < batch.num_tokens(); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  using tetrad::parallel::MessageHeader;
  if (size >= MessageHeader::kBytes) {
    const auto header = MessageHeader::read(bytes.first<MessageHeader::kBytes>(), 1000);
    if (header && header->payload_bytes > 1000) std::abort();
  }
  const auto start = tetrad::RankStart::decode(bytes, 4096);
  if (start && !std::ranges::equal(start->encode(), bytes)) {
    // A utilization of -0 comes back as 0.
    if (start->memory.utilization) std::abort();
  }
  tetrad::RankStep step;
  if (!step.decode(bytes, kFuzzLimits)) return 0;
  if (!is_within_limits(step.batch())) std::abort();
  std::vector<std::byte> again;
  tetrad::RankStep twice;
  if (!tetrad::encode_step(step.batch(), step.uses(), kFuzzLimits, again)) std::abort();
  if (again.size() != size || !twice.decode(again, kFuzzLimits)) std::abort();
  return 0;
}
