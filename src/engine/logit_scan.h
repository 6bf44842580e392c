#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/vocabulary_scan.h"
#include "text/token_id.h"

namespace tetrad {

/// A token and its logit in one number. The smaller number has the larger logit, and of equals the
/// lower id.
class TokenKey {
 public:
  TokenKey() = default;
  TokenKey(float logit, TokenId id)
      : bits_(uint64_t{~ascending(logit)} << 32 | static_cast<uint32_t>(id)) {}

  /// Of -0 it has become 0.
  float logit() const {
    const uint32_t order = ~rank();
    return std::bit_cast<float>((order & kSign) != 0 ? order ^ kSign : ~order);
  }
  TokenId id() const { return static_cast<TokenId>(static_cast<uint32_t>(bits_)); }

  /// The part that orders the logits.
  uint32_t rank() const { return static_cast<uint32_t>(bits_ >> 32); }

  auto operator<=>(const TokenKey&) const = default;

 private:
  static constexpr uint32_t kSign = uint32_t{1} << 31;

  /// In the order of the floats; -0 equals 0.
  static uint32_t ascending(float logit) {
    const auto bits = std::bit_cast<uint32_t>(logit + 0.0f);
    return (bits & kSign) != 0 ? ~bits : bits | kSign;
  }

  uint64_t bits_ = 0;
};

/// Finds what is large among the logits of a vocabulary without looking at each of them twice: it
/// knows the largest logit of every block of 64, and most blocks have nothing of interest.
class LogitScan {
 public:
  /// True if all are finite. Minus infinity may stand for tokens that are ruled out; of logits
  /// among which there is a NaN the other functions return anything. `logits`, at least one, must
  /// stay until the last of them.
  bool read(std::span<const float> logits);

  std::span<const float> logits() const { return logits_; }
  float largest() const { return largest_; }
  /// The lowest id of those with the largest logit.
  TokenId best() const;
  /// A logit that `count` tokens or more have or exceed, not much below that of the last of these;
  /// the lowest of floats if none is known.
  float bound_of(int64_t count);

  /// Appends those whose logit is `bound` or more, in the order of their ids.
  void collect(float bound, std::vector<TokenKey>& keys) const;

 private:
  float nth_largest(std::span<const float> values, int64_t count, float lowest);

  std::span<const float> logits_;
  std::vector<float> maxima_;            // of the blocks
  std::vector<float> maxima_of_blocks_;  // of 64 of these
  float largest_ = 0;
  std::vector<TokenKey> sorted_;  // kept for its memory, as the others are
};

/// In order; equal logits must come in the order of their ids.
void sort_keys(std::vector<TokenKey>& keys);

/// Keeps the first `count` in order, and leaves no more than these as they are.
void keep_first(std::vector<TokenKey>& keys, int64_t count);

}  // namespace tetrad
