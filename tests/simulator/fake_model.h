#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/step_model.h"
#include "text/tokenizer.h"

namespace tetrad::simulator {

/// Stands for a model: what it computes for a token depends on every token before it, as it finds
/// them in the cache, and on nothing else. Whoever lets two sequences write to one block, or shares
/// a block of other tokens, gets other logits than he should, or an error.
class FakeModel final : public StepModel {
 public:
  static constexpr int64_t kVocabSize = 48;

  explicit FakeModel(int64_t num_kv_blocks)
      : slots_(static_cast<size_t>(num_kv_blocks * kKvBlockSize)) {}

  Result<Activations> forward(const Batch& batch) override;

  /// The next forward passes fail, as when memory runs out.
  void fail_next(int64_t count) { num_failures_ = count; }
  /// One row of the next step's logits is no number.
  void spoil_next() { spoil_ = true; }

  /// The same function of the tokens themselves: what has to come out.
  static uint64_t fingerprint(uint64_t before, TokenId token);
  static void logits(uint64_t fingerprint, TokenId token, std::span<float> out);

 private:
  struct Slot {
    int64_t position = -1;
    TokenId token = -1;
    uint64_t fingerprint = 0;  // of all tokens up to this one
  };
  Slot& slot(const SequenceSlice& slice, int64_t position) {
    const int64_t block = slice.block_table[static_cast<size_t>(position / kKvBlockSize)];
    return slots_[static_cast<size_t>(block * kKvBlockSize + position % kKvBlockSize)];
  }
  void write(const Batch& batch, const SequenceSlice& slice);
  void check(const SequenceSlice& slice);

  std::vector<Slot> slots_;
  std::vector<float> logits_;
  int64_t num_failures_ = 0;
  bool spoil_ = false;
};

}  // namespace tetrad::simulator
