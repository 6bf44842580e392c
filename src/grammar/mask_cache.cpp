#include "grammar/mask_cache.h"

#include <algorithm>

#include "grammar/stack_copy.h"

namespace tetrad::grammar {
namespace {

// Beyond, everything is computed anew: about 9 MB of ways on, and 6 MB of masks at 200,064 tokens.
constexpr size_t kMaxStates = 8'192;
constexpr size_t kMaxStacks = 1 << 16;
constexpr size_t kMaxMasks = 256;

uint64_t stacks_hash(const Stacks& stacks) {
  uint64_t hash = stacks.size();
  for (const StackId stack : stacks)
    add_to_hash(hash, static_cast<uint32_t>(stack));
  return hash;
}

}  // namespace

MaskCache::MaskCache(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie)
    : grammar_(std::move(grammar)), trie_(std::move(trie)), store_(*grammar_) {}

std::shared_ptr<const TokenMask> MaskCache::mask(const Matcher& matcher) {
  const std::scoped_lock lock(mutex_);
  if (states_.size() > kMaxStates || store_.size() > kMaxStacks || num_masks_ > kMaxMasks) clear();
  StackCopy copy(matcher.store(), store_);
  const StateId id = intern(copy.alike(matcher.stacks(), trie_->max_token_bytes()));
  std::shared_ptr<const TokenMask> known = states_[static_cast<size_t>(id)]->mask;
  if (known == nullptr) {
    known = walk(id);
    states_[static_cast<size_t>(id)]->mask = known;
    ++num_masks_;
  }
  return known;
}

MaskCache::StateId MaskCache::intern(Stacks stacks) {
  if (stacks.empty()) return kDead;
  const auto next = static_cast<StateId>(states_.size());
  const StateId id = ids_.find_or_add(stacks_hash(stacks), next, [&](StateId known) {
    return states_[static_cast<size_t>(known)]->stacks == stacks;
  });
  if (id != next) return id;
  auto state = std::make_unique<State>();
  state->min_bytes = min_bytes(store_, stacks);
  state->stacks = std::move(stacks);
  state->next.fill(kUnknown);
  states_.push_back(std::move(state));
  return id;
}

MaskCache::StateId MaskCache::next(StateId from, uint8_t byte) {
  State& state = *states_[static_cast<size_t>(from)];
  StateId& known = state.next[byte];
  if (known == kUnknown) known = intern(Closure(store_).step(state.stacks, byte));
  return known;
}

/// Whether all these bytes, in any order, lead from the state back to it.
bool MaskCache::stays(StateId id, const std::bitset<256>& bytes) {
  constexpr int kWorthwhile = 32;
  State& state = *states_[static_cast<size_t>(id)];
  if (!state.loop) {
    if (++state.num_visits < kWorthwhile) return false;
    state.loop.emplace();
    for (size_t byte = 0; byte < 256; ++byte)
      state.loop->set(byte, next(id, static_cast<uint8_t>(byte)) == id);
  }
  return (bytes & ~*state.loop).none();
}

std::shared_ptr<const TokenMask> MaskCache::walk(StateId start) {
  auto mask = std::make_shared<TokenMask>();
  mask->tokens = TokenSet(trie_->vocab_size());
  const int64_t min_before = states_[static_cast<size_t>(start)]->min_bytes;
  const auto nodes = trie_->nodes();
  const auto tokens = trie_->tokens();
  std::vector<StateId> path(static_cast<size_t>(trie_->max_token_bytes()) + 1);
  path[0] = start;
  for (size_t i = 0; i < nodes.size();) {
    const TokenTrie::Node& node = nodes[i];
    const StateId state = next(path[node.depth - 1U], node.byte);
    if (state == kDead) {
      i = static_cast<size_t>(node.end);
      continue;
    }
    path[node.depth] = state;
    int32_t last_token = node.last_token;
    ++i;
    // Inside a string most branches are letters all the way down.
    if (node.below != TokenTrie::kFewBelow &&
        stays(state, trie_->byte_sets()[static_cast<size_t>(node.below)])) {
      i = static_cast<size_t>(node.end);
      last_token = nodes[i - 1].last_token;
    }
    if (node.first_token == last_token) continue;
    for (int32_t token = node.first_token; token < last_token; ++token)
      mask->tokens.insert(tokens[static_cast<size_t>(token)]);
    mask->max_growth =
        std::max(mask->max_growth, states_[static_cast<size_t>(state)]->min_bytes - min_before);
  }
  const Stacks& stacks = states_[static_cast<size_t>(start)]->stacks;
  for (const TokenId id : special_tokens(store_, stacks)) {
    if (id >= trie_->vocab_size()) continue;
    mask->tokens.insert(id);
    const Stacks after = Closure(store_).step_special(stacks, id);
    mask->max_growth = std::max(mask->max_growth, min_bytes(store_, after) - min_before);
  }
  return mask;
}

void MaskCache::clear() {
  states_.clear();
  ids_ = IndexTable();
  store_ = StackStore(*grammar_);
  num_masks_ = 0;
}

}  // namespace tetrad::grammar
