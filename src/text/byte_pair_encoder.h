#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/token_id.h"

namespace tetrad {

/// "Where `left` stands before `right`, write `result`." Its rank is its place in the list.
struct Merge {
  TokenId left = -1;
  TokenId right = -1;
  TokenId result = -1;
};

/// Byte-pair encoding of one piece: start with one token a byte, apply the applicable merge of the
/// lowest rank, the leftmost one first, until none applies. O(n log n) for a piece of n bytes.
class BytePairEncoder {
 public:
  /// `byte_tokens[b]` is the token of the byte b. An error when two merges have the same pair.
  static Result<BytePairEncoder> create(const std::array<TokenId, 256>& byte_tokens,
                                        std::vector<Merge> merges);

  /// Memory that encode() reuses from piece to piece; belongs to one thread.
  class Workspace {
    friend class BytePairEncoder;
    /// A token of the piece so far, in a linked list by index.
    struct Symbol {
      TokenId token;
      uint32_t previous;
      uint32_t next;
      uint32_t rank;  // of the merge with the next one
    };
    std::vector<Symbol> symbols;
    /// rank << 32 | index of the left symbol; outdated when that symbol's rank differs.
    std::vector<uint64_t> queue;
  };

  /// Appends the tokens of `piece`, which must be shorter than 2^32 - 1 bytes.
  void encode(std::string_view piece, Workspace& workspace, std::vector<TokenId>& tokens) const;

 private:
  /// A slot of the hash table from a pair of tokens to the rank of its merge.
  struct Slot {
    uint64_t pair;
    uint32_t rank;
  };

  BytePairEncoder() = default;
  size_t find_slot(uint64_t pair) const;
  uint32_t rank_of(TokenId left, TokenId right) const;
  void start(std::string_view piece, Workspace& workspace) const;
  void rerank(Workspace& workspace, uint32_t index) const;
  void apply(Workspace& workspace, uint32_t index) const;

  std::array<TokenId, 256> byte_tokens_{};
  std::vector<Merge> merges_;
  std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
  int shift_ = 0;            // 64 - log2(slots_.size())
};

}  // namespace tetrad
