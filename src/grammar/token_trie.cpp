#include "grammar/token_trie.h"

#include <algorithm>
#include <string_view>

namespace tetrad::grammar {
namespace {

// Longer tokens are left out of constrained answers; real ones have up to 128 bytes.
constexpr size_t kMaxTokenBytes = 512;

}  // namespace

TokenTrie::TokenTrie(const Tokenizer& tokenizer) : vocab_size_(tokenizer.vocab_size()) {
  for (TokenId id = 0; id < vocab_size_; ++id) {
    const std::string_view bytes = tokenizer.token_bytes(id);
    if (bytes.empty() || bytes.size() > kMaxTokenBytes || tokenizer.is_added(id)) continue;
    tokens_.push_back(id);
    max_token_bytes_ = std::max(max_token_bytes_, std::ssize(bytes));
  }
  const auto bytes_of = [&](TokenId id) { return tokenizer.token_bytes(id); };
  std::ranges::sort(tokens_, {}, [&](TokenId id) { return std::pair(bytes_of(id), id); });
  std::vector<int32_t> path;  // the nodes from the root to the last token
  std::string_view last;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string_view bytes = bytes_of(tokens_[i]);
    const auto common = static_cast<size_t>(std::ranges::mismatch(bytes, last).in1 - bytes.begin());
    for (; path.size() > common; path.pop_back())
      nodes_[static_cast<size_t>(path.back())].end = static_cast<int32_t>(nodes_.size());
    for (size_t depth = common; depth < bytes.size(); ++depth) {
      path.push_back(static_cast<int32_t>(nodes_.size()));
      nodes_.push_back({.byte = static_cast<uint8_t>(bytes[depth]),
                        .depth = static_cast<uint16_t>(depth + 1),
                        .end = 0,
                        .first_token = static_cast<int32_t>(i),
                        .last_token = static_cast<int32_t>(i),
                        .below = kFewBelow});
    }
    nodes_[static_cast<size_t>(path.back())].last_token = static_cast<int32_t>(i + 1);
    last = bytes;
  }
  for (const int32_t node : path)
    nodes_[static_cast<size_t>(node)].end = static_cast<int32_t>(nodes_.size());
  collect_byte_sets();
}

void TokenTrie::collect_byte_sets() {
  constexpr int32_t kSmallBranch = 8;
  std::vector<std::bitset<256>> path(static_cast<size_t>(max_token_bytes_) + 2);
  // Backwards, children come before their parents.
  for (size_t i = nodes_.size(); i-- > 0;) {
    Node& node = nodes_[i];
    if (node.end - static_cast<int32_t>(i) > kSmallBranch) {
      node.below = static_cast<int32_t>(byte_sets_.size());
      byte_sets_.push_back(path[node.depth + 1U]);
    }
    path[node.depth] |= path[node.depth + 1U];
    path[node.depth].set(node.byte);
    path[node.depth + 1U].reset();
  }
}

}  // namespace tetrad::grammar
