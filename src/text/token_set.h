#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "text/token_id.h"

namespace tetrad {

/// A set of token ids of one vocabulary: one bit an id.
class TokenSet {
 public:
  explicit TokenSet(int64_t vocab_size = 0)
      : vocab_size_(vocab_size), words_((static_cast<size_t>(vocab_size) + 63) / 64) {}

  int64_t vocab_size() const { return vocab_size_; }
  bool contains(TokenId id) const {
    return id >= 0 && id < vocab_size_ && (words_[word(id)] >> bit(id) & 1) != 0;
  }
  /// `id` is one of the vocabulary's.
  void insert(TokenId id) { words_[word(id)] |= uint64_t{1} << bit(id); }
  void erase(TokenId id) { words_[word(id)] &= ~(uint64_t{1} << bit(id)); }
  void clear() { std::ranges::fill(words_, 0); }
  bool empty() const {
    return std::ranges::all_of(words_, [](uint64_t bits) { return bits == 0; });
  }
  /// Bit i of word w: the id 64 w + i.
  std::span<const uint64_t> words() const { return words_; }

  bool operator==(const TokenSet&) const = default;

 private:
  static size_t word(TokenId id) { return static_cast<size_t>(id) / 64; }
  static unsigned bit(TokenId id) { return static_cast<unsigned>(id) % 64; }

  int64_t vocab_size_;
  std::vector<uint64_t> words_;
};

}  // namespace tetrad
