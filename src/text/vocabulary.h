#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/token_id.h"

namespace tetrad {

/// The bytes of every token by id, in one block of memory.
class Vocabulary {
 public:
  /// Gives `id` the bytes that `written` stands for in the byte alphabet, or `written` itself when
  /// a character of it is not in that alphabet (so does the reference decoder, for added tokens
  /// too). An id that has a token already keeps it. Returns whether `written` is in the byte
  /// alphabet.
  bool add(TokenId id, std::string_view written);

  bool contains(TokenId id) const { return id >= 0 && id < end() && entries_[id].size != kAbsent; }
  /// Empty for an id without a token.
  std::string_view bytes(TokenId id) const {
    return contains(id) ? std::string_view(bytes_).substr(entries_[id].offset, entries_[id].size)
                        : std::string_view();
  }
  /// One past the largest id that has a token.
  TokenId end() const { return static_cast<TokenId>(entries_.size()); }

 private:
  static constexpr size_t kAbsent = SIZE_MAX;
  struct Entry {
    size_t offset = 0;
    size_t size = kAbsent;
  };
  std::vector<Entry> entries_;
  std::string bytes_;
};

}  // namespace tetrad
