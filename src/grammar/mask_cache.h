#pragma once

// Which tokens may come at each place of a grammar, computed once for places that are alike.

#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "grammar/closure.h"
#include "grammar/index_table.h"
#include "grammar/matcher.h"
#include "grammar/token_trie.h"
#include "text/token_set.h"

namespace tetrad::grammar {

struct TokenMask {
  TokenSet tokens;         // added ones among them
  int64_t max_growth = 0;  // the most by which one of them makes what is left longer, in bytes
};

/// Thread-safe: one cache serves all answers that are held to its grammar.
class MaskCache {
 public:
  MaskCache(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie);

  const Grammar& grammar() const { return *grammar_; }
  const TokenTrie& trie() const { return *trie_; }

  std::shared_ptr<const TokenMask> mask(const Matcher& matcher);

 private:
  using StateId = int32_t;
  static constexpr StateId kDead = -1;
  static constexpr StateId kUnknown = -2;

  /// A place in the grammar, with the ways on that were asked for.
  struct State {
    Stacks stacks;
    int64_t min_bytes = 0;
    std::array<StateId, 256> next;
    /// The bytes that lead back here; not known before num_visits says that it is worth it.
    std::optional<std::bitset<256>> loop;
    int num_visits = 0;
    std::shared_ptr<const TokenMask> mask;
  };

  StateId intern(Stacks stacks);
  StateId next(StateId from, uint8_t byte);
  bool stays(StateId state, const std::bitset<256>& bytes);
  std::shared_ptr<const TokenMask> walk(StateId start);
  void clear();

  const std::shared_ptr<const Grammar> grammar_;
  const std::shared_ptr<const TokenTrie> trie_;
  std::mutex mutex_;
  StackStore store_;
  std::vector<std::unique_ptr<State>> states_;
  IndexTable ids_;  // of states_, by their stacks
  size_t num_masks_ = 0;
};

}  // namespace tetrad::grammar
