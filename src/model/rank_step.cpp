#include "model/rank_step.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

namespace tetrad {
namespace {

/// T, S, B, R.
constexpr size_t kNumCounts = 4;
constexpr size_t kSizesOfASequence = 3;
/// Beyond any flag's range.
constexpr int64_t kMostSequences = 1 << 16;
constexpr int64_t kMostTokens = 1 << 24;

template <class T>
void append_values(std::vector<std::byte>& bytes, std::span<const T> values) {
  const size_t end = bytes.size();
  bytes.resize(end + values.size_bytes());
  if (!values.empty()) std::memcpy(bytes.data() + end, values.data(), values.size_bytes());
}

/// Takes values from the front of `bytes`, which has enough of them.
template <class T>
void take_values(std::span<const std::byte>& bytes, size_t count, std::vector<T>& values) {
  values.resize(count);
  if (count > 0) std::memcpy(values.data(), bytes.data(), count * sizeof(T));
  bytes = bytes.subspan(count * sizeof(T));
}

bool is_within(int64_t value, int64_t least, int64_t most) {
  return least <= value && value <= most;
}

int64_t slot_of(std::span<const int32_t> blocks, int64_t position) {
  return int64_t{blocks[static_cast<size_t>(position / kKvBlockSize)]} * kKvBlockSize +
         position % kKvBlockSize;
}

float as_number(const LogitsUse& use) {
  return use.is_whole ? -1.0f : use.temperature;
}

/// What decode() makes anew must be what the batch has.
bool follows_from_blocks(const Batch& batch) {
  int64_t row = 0;
  for (const SequenceSlice& sequence : batch.sequences) {
    if (sequence.query_start != row) return false;
    for (int64_t i = 0; i < sequence.query_len; ++i, ++row) {
      const auto at = static_cast<size_t>(row);
      const int64_t position = sequence.context_len + i;
      if (batch.positions[at] != position ||
          batch.slot_mapping[at] != slot_of(sequence.block_table, position))
        return false;
    }
  }
  return row == batch.num_tokens();
}

}  // namespace

size_t RankStepLimits::max_bytes() const {
  // Blocks that sequences share stand in the table of each.
  const int64_t blocks = max_num_seqs * kv_blocks_for(max_model_len);
  const int64_t numbers = static_cast<int64_t>(kNumCounts) + 3 * max_num_batched_tokens +
                          static_cast<int64_t>(kSizesOfASequence) * max_num_seqs + blocks;
  return static_cast<size_t>(std::min<int64_t>(numbers * 4, INT32_MAX / 2));
}

Result<void> encode_step(const Batch& batch, std::span<const LogitsUse> uses,
                         const RankStepLimits& limits, std::vector<std::byte>& bytes) {
  const auto num_sequences = static_cast<int64_t>(batch.sequences.size());
  if (!is_within(batch.num_tokens(), 1, limits.max_num_batched_tokens) ||
      !is_within(num_sequences, 1, limits.max_num_seqs) || !follows_from_blocks(batch) ||
      (!uses.empty() && uses.size() != batch.logits_rows.size())) {
    return fail(ErrorCode::internal,
                "a step of {} tokens of {} sequences cannot be sent to the other ranks",
                batch.num_tokens(), num_sequences);
  }
  std::vector<int32_t> sizes;
  std::vector<int32_t> blocks;
  for (const SequenceSlice& sequence : batch.sequences) {
    const int64_t length = sequence.context_len + sequence.query_len;
    const auto used = sequence.block_table.first(static_cast<size_t>(kv_blocks_for(length)));
    blocks.insert(blocks.end(), used.begin(), used.end());
    sizes.insert(sizes.end(),
                 {static_cast<int32_t>(sequence.query_len),
                  static_cast<int32_t>(sequence.context_len), static_cast<int32_t>(used.size())});
  }
  std::vector<float> temperatures(batch.logits_rows.size(), as_number({}));
  std::ranges::transform(uses, temperatures.begin(), as_number);
  const std::array<uint32_t, kNumCounts> counts{
      static_cast<uint32_t>(batch.num_tokens()), static_cast<uint32_t>(num_sequences),
      static_cast<uint32_t>(blocks.size()), static_cast<uint32_t>(batch.logits_rows.size())};
  bytes.clear();
  append_values<uint32_t>(bytes, counts);
  append_values(bytes, batch.token_ids);
  append_values<int32_t>(bytes, sizes);
  append_values<int32_t>(bytes, blocks);
  append_values(bytes, batch.logits_rows);
  append_values<float>(bytes, temperatures);
  return {};
}

Result<void> RankStep::decode(std::span<const std::byte> bytes, const RankStepLimits& limits) {
  if (bytes.size() < kNumCounts * sizeof(uint32_t))
    return fail(ErrorCode::corrupt_data, "a step of {} bytes has no head", bytes.size());
  std::vector<uint32_t> counts;
  take_values(bytes, kNumCounts, counts);
  const size_t num_tokens = counts[0];
  const size_t num_sequences = counts[1];
  const size_t num_blocks = counts[2];
  const size_t num_rows = counts[3];
  if (!is_within(counts[0], 1, limits.max_num_batched_tokens) ||
      !is_within(counts[1], 1, limits.max_num_seqs) || num_rows > num_tokens) {
    return fail(ErrorCode::corrupt_data,
                "a step of {} tokens of {} sequences with {} rows of logits; agreed are {} tokens "
                "of {} sequences",
                num_tokens, num_sequences, num_rows, limits.max_num_batched_tokens,
                limits.max_num_seqs);
  }
  const size_t wanted =
      (num_tokens + kSizesOfASequence * num_sequences + num_blocks + 2 * num_rows) *
      sizeof(int32_t);
  if (bytes.size() != wanted) {
    return fail(ErrorCode::corrupt_data, "a step has {} bytes where its counts need {}",
                bytes.size(), wanted);
  }
  take_values(bytes, num_tokens, token_ids_);
  take_values(bytes, kSizesOfASequence * num_sequences, sizes_);
  take_values(bytes, num_blocks, blocks_);
  take_values(bytes, num_rows, logits_rows_);
  std::vector<float> temperatures;
  take_values(bytes, num_rows, temperatures);

  for (const int32_t id : token_ids_) {
    if (!is_within(id, 0, limits.vocab_size - 1))
      return fail(ErrorCode::corrupt_data, "a step has the token {}", id);
  }
  for (const int32_t block : blocks_) {
    if (!is_within(block, 0, limits.num_kv_blocks - 1))
      return fail(ErrorCode::corrupt_data, "a step has the block {} of {}", block,
                  limits.num_kv_blocks);
  }
  for (size_t i = 0; i < num_rows; ++i) {
    const int32_t least = i == 0 ? 0 : logits_rows_[i - 1] + 1;
    if (!is_within(logits_rows_[i], least, static_cast<int64_t>(num_tokens) - 1))
      return fail(ErrorCode::corrupt_data, "a step asks for the logits of row {}", logits_rows_[i]);
  }
  uses_.clear();
  for (const float temperature : temperatures) {
    if (!std::isfinite(temperature))
      return fail(ErrorCode::corrupt_data, "a step has a temperature that is no number");
    const bool is_whole = temperature < 0;
    uses_.push_back({.is_whole = is_whole, .temperature = is_whole ? 0 : temperature});
  }
  return decode_sequences(sizes_, limits);
}

Result<void> RankStep::decode_sequences(std::span<const int32_t> sizes,
                                        const RankStepLimits& limits) {
  sequences_.clear();
  positions_.clear();
  slot_mapping_.clear();
  std::span<const int32_t> blocks(blocks_);
  const auto num_tokens = static_cast<int64_t>(token_ids_.size());
  int64_t row = 0;
  for (; !sizes.empty(); sizes = sizes.subspan(kSizesOfASequence)) {
    const int64_t query_len = sizes[0];
    const int64_t context_len = sizes[1];
    const int64_t num_blocks = sizes[2];
    if (!is_within(query_len, 1, num_tokens - row) ||
        !is_within(context_len, 0, limits.max_model_len - query_len) ||
        num_blocks != kv_blocks_for(context_len + query_len) ||
        num_blocks > static_cast<int64_t>(blocks.size())) {
      return fail(ErrorCode::corrupt_data,
                  "a step has a sequence of {} tokens behind {} others in {} blocks", query_len,
                  context_len, num_blocks);
    }
    const auto table = blocks.first(static_cast<size_t>(num_blocks));
    blocks = blocks.subspan(table.size());
    sequences_.push_back({.query_start = row,
                          .query_len = query_len,
                          .context_len = context_len,
                          .block_table = table});
    for (int64_t i = 0; i < query_len; ++i) {
      positions_.push_back(static_cast<int32_t>(context_len + i));
      slot_mapping_.push_back(slot_of(table, context_len + i));
    }
    row += query_len;
  }
  if (row != num_tokens || !blocks.empty())
    return fail(ErrorCode::corrupt_data, "a step has tokens or blocks that are no sequence's");
  return {};
}

Batch RankStep::batch() const {
  return {.token_ids = token_ids_,
          .positions = positions_,
          .slot_mapping = slot_mapping_,
          .sequences = sequences_,
          .logits_rows = logits_rows_};
}

namespace {

/// RankStart as it is sent.
struct StartRecord {
  int64_t max_model_len;
  int64_t max_num_seqs;
  int64_t max_num_batched_tokens;
  int64_t one_sequence;
  int64_t kv_bytes;
  double utilization;  // 0: not said
};

}  // namespace

std::vector<std::byte> RankStart::encode() const {
  const StartRecord record{.max_model_len = limits.max_model_len,
                           .max_num_seqs = limits.max_num_seqs,
                           .max_num_batched_tokens = limits.max_num_batched_tokens,
                           .one_sequence = limits.one_sequence ? 1 : 0,
                           .kv_bytes = memory.bytes,
                           .utilization = memory.utilization.value_or(0)};
  std::vector<std::byte> bytes;
  append_values<StartRecord>(bytes, {&record, 1});
  return bytes;
}

Result<RankStart> RankStart::decode(std::span<const std::byte> bytes, int64_t longest) {
  StartRecord record{};
  if (bytes.size() != sizeof record)
    return fail(ErrorCode::corrupt_data, "a start of {} bytes", bytes.size());
  std::memcpy(&record, bytes.data(), sizeof record);
  if (!is_within(record.max_model_len, 1, longest) ||
      !is_within(record.max_num_seqs, 1, kMostSequences) ||
      !is_within(record.max_num_batched_tokens, 1, kMostTokens) ||
      !is_within(record.one_sequence, 0, 1) || record.kv_bytes < 0 ||
      !(record.utilization >= 0 && record.utilization <= 1)) {
    return fail(ErrorCode::corrupt_data,
                "a start with sequences of {} tokens, {} sequences and {} tokens of a step, {} "
                "bytes of cache",
                record.max_model_len, record.max_num_seqs, record.max_num_batched_tokens,
                record.kv_bytes);
  }
  RankStart start{.limits = {.max_model_len = record.max_model_len,
                             .max_num_seqs = record.max_num_seqs,
                             .max_num_batched_tokens = record.max_num_batched_tokens,
                             .one_sequence = record.one_sequence == 1},
                  .memory = {.bytes = record.kv_bytes, .utilization = std::nullopt}};
  if (record.utilization > 0) start.memory.utilization = record.utilization;
  return start;
}

}  // namespace tetrad
