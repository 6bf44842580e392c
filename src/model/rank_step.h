#pragma once

// A step as rank 0 sends it to the others. In the byte order of x86:
//
//   uint32 tokens T, sequences S, blocks B, rows of logits R
//   int32  token ids [T]
//   int32  of each sequence: tokens in this step, tokens before it, blocks [S, 3]
//   int32  blocks, one sequence's after the other's [B]
//   int32  rows whose logits are wanted [R]
//   float  what each row is asked for [R]: below 0 all of it, else the temperature of LogitsUse
//
// Positions and slots follow from the rest.

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "kernels/batch.h"
#include "model/device_model.h"
#include "model/step_logits.h"

namespace tetrad {

/// What all ranks have made room for.
struct RankStepLimits {
  int64_t vocab_size = 0;
  int64_t max_model_len = 0;
  int64_t max_num_seqs = 0;
  int64_t max_num_batched_tokens = 0;
  int64_t num_kv_blocks = 0;

  /// Of the longest step.
  size_t max_bytes() const;
};

/// Replaces `bytes`. uses: one for each row of logits, or none for whole rows. Errors: internal,
/// where the batch is beyond the limits, or its positions and slots are not those of its blocks.
Result<void> encode_step(const Batch& batch, std::span<const LogitsUse> uses,
                         const RankStepLimits& limits, std::vector<std::byte>& bytes);

/// The arrays behind a Batch that came from another rank; kept between steps for their memory.
class RankStep {
 public:
  /// Every length, id and block is checked against the limits. Errors: corrupt_data.
  Result<void> decode(std::span<const std::byte> bytes, const RankStepLimits& limits);

  /// Of the last step decoded, until the next.
  Batch batch() const;
  std::span<const LogitsUse> uses() const { return uses_; }

 private:
  Result<void> decode_sequences(std::span<const int32_t> sizes, const RankStepLimits& limits);

  std::vector<int32_t> token_ids_;
  std::vector<int32_t> positions_;
  std::vector<int64_t> slot_mapping_;
  std::vector<int32_t> sizes_;  // [S, 3]
  std::vector<int32_t> blocks_;
  std::vector<SequenceSlice> sequences_;
  std::vector<int32_t> logits_rows_;
  std::vector<LogitsUse> uses_;
};

/// What rank 0 starts the others with.
struct RankStart {
  StepLimits limits;
  KvMemory memory;

  std::vector<std::byte> encode() const;
  /// longest: of max_model_len, which the model has. Errors: corrupt_data.
  static Result<RankStart> decode(std::span<const std::byte> bytes, int64_t longest);
};

}  // namespace tetrad
