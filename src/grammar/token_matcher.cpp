#include "grammar/token_matcher.h"

#include <utility>

#include "grammar/stack_copy.h"

namespace tetrad::grammar {
namespace {

// Deeper texts are brought to their end: nesting that goes on and on is no document any more.
constexpr int32_t kDeepFrames = 512;

}  // namespace

TokenMatcher::TokenMatcher(std::shared_ptr<MaskCache> cache, const Tokenizer& tokenizer)
    : cache_(std::move(cache)), tokenizer_(tokenizer), matcher_(cache_->grammar()) {}

const TokenSet& TokenMatcher::allowed(int64_t num_tokens_left) {
  mask_ = cache_->mask(matcher_);
  const int64_t least = matcher_.min_bytes();
  const bool fits = num_tokens_left >= least;
  const bool stays_fitting = num_tokens_left - 1 >= least + mask_->max_growth;
  if ((!fits || stays_fitting) && matcher_.depth() <= kDeepFrames) return mask_->tokens;
  collect_shortest();
  // At an end there is nothing nearer to it: no token, so that the answer ends.
  return shortest_.empty() && least > 0 ? mask_->tokens : shortest_;
}

/// The tokens all of whose bytes lead straight to the nearest end.
void TokenMatcher::collect_shortest() {
  const TokenTrie& trie = cache_->trie();
  if (shortest_.vocab_size() != trie.vocab_size()) shortest_ = TokenSet(trie.vocab_size());
  shortest_.clear();
  StackStore store(cache_->grammar());
  Closure closure(store);
  std::vector<Stacks> path(static_cast<size_t>(trie.max_token_bytes()) + 1);
  path[0] = StackCopy(matcher_.store(), store).exact(matcher_.stacks());
  for (size_t i = 0; i < trie.nodes().size();) {
    const TokenTrie::Node& node = trie.nodes()[i];
    const Stacks& before = path[node.depth - 1U];
    Stacks after = closure.step(before, node.byte);
    if (after.empty() || min_bytes(store, after) >= min_bytes(store, before)) {
      i = static_cast<size_t>(node.end);
      continue;
    }
    for (int32_t token = node.first_token; token < node.last_token; ++token)
      shortest_.insert(trie.tokens()[static_cast<size_t>(token)]);
    path[node.depth] = std::move(after);
    ++i;
  }
  for (const TokenId id : special_tokens(store, path[0])) {
    if (!mask_->tokens.contains(id)) continue;
    const Stacks after = closure.step_special(path[0], id);
    if (min_bytes(store, after) < matcher_.min_bytes()) shortest_.insert(id);
  }
}

Result<void> TokenMatcher::accept(TokenId id) {
  const std::string_view bytes = tokenizer_.token_bytes(id);
  const bool accepted = tokenizer_.is_added(id) ? matcher_.accept_special(id)
                                                : !bytes.empty() && matcher_.accept(bytes);
  if (!accepted) return fail(ErrorCode::internal, "token {} breaks the grammar it was held to", id);
  return {};
}

}  // namespace tetrad::grammar
