#pragma once

#include <bitset>
#include <cstdint>
#include <span>
#include <vector>

#include "text/tokenizer.h"

namespace tetrad::grammar {

/// The ordinary tokens of a vocabulary by their bytes: a tree in preorder, so that a walk is one
/// pass over an array that jumps where nothing matches.
class TokenTrie {
 public:
  explicit TokenTrie(const Tokenizer& tokenizer);

  struct Node {
    uint8_t byte;         // the last of the path to this node
    uint16_t depth;       // bytes of the path: 1 for children of the root
    int32_t end;          // behind the last node below this one
    int32_t first_token;  // of tokens(): those whose bytes are the path
    int32_t last_token;   // behind them
    int32_t below;        // of byte_sets(): what occurs below; kFewBelow for a small branch
  };
  static constexpr int32_t kFewBelow = -1;

  std::span<const Node> nodes() const { return nodes_; }
  /// In preorder, too: those at and below a node are one stretch.
  std::span<const TokenId> tokens() const { return tokens_; }
  std::span<const std::bitset<256>> byte_sets() const { return byte_sets_; }
  /// Bytes of the longest token.
  int64_t max_token_bytes() const { return max_token_bytes_; }
  int64_t vocab_size() const { return vocab_size_; }

 private:
  void collect_byte_sets();

  std::vector<Node> nodes_;
  std::vector<TokenId> tokens_;
  std::vector<std::bitset<256>> byte_sets_;
  int64_t max_token_bytes_ = 0;
  int64_t vocab_size_;
};

}  // namespace tetrad::grammar
