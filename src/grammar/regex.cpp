// From a regular expression to a deterministic automaton: the subset construction.

#include <algorithm>
#include <map>
#include <utility>

#include "grammar/code_point_dfa.h"
#include "grammar/index_table.h"
#include "grammar/regex_alphabet.h"
#include "grammar/regex_ast.h"
#include "grammar/regex_nfa.h"

namespace tetrad::grammar {
namespace {

/// States of the non-deterministic automaton, ascending.
using NfaStates = std::vector<int32_t>;

/// Steps of the construction, and states kept in all sets together, for each state that is allowed:
/// what keeps time and memory in bounds when the automaton has few states of large sets.
constexpr size_t kStepsPerState = 2'500;
constexpr size_t kKeptPerState = 250;

class SubsetConstruction {
 public:
  SubsetConstruction(const Nfa& nfa, const RegexAlphabet& alphabet, AutomatonLimits limits)
      : nfa_(nfa),
        alphabet_(alphabet),
        limits_(limits),
        steps_left_(kStepsPerState * limits.max_states),
        kept_left_(kKeptPerState * limits.max_states),
        seen_(nfa.states.size(), 0),
        next_of_class_(alphabet.num_classes),
        target_of_class_(alphabet.num_classes, CodePointDfa::kDead) {
    if (!nfa.restarts) return;
    // A text that began earlier is at its beginning no more: these states exclude ^.
    const int32_t begin[] = {nfa.start};
    restart_ = closure(begin, Place{});
  }

  Result<CodePointDfa> run() {
    const int32_t begin[] = {nfa_.start};
    // The first state is not entered among the others: ^ holds in it alone.
    sets_.push_back(closure(begin, {.at_begin = true}));
    for (size_t state = 0; state < sets_.size(); ++state) {
      const NfaStates set = sets_[state];
      const bool accepts = accepts_end(set, state == 0);
      add_edges(set);
      dfa_.end_state(accepts ? 0 : CodePointDfa::kNoLabel);
      if (sets_.size() > limits_.max_states || dfa_.num_edges() > max_edges(limits_) ||
          steps_left_ == 0 || kept_left_ == 0) {
        return too_many_states(limits_);
      }
    }
    return std::move(dfa_);
  }

 private:
  struct Place {
    bool at_begin = false;
    bool at_end = false;
  };

  const NfaState& nfa_state(int32_t state) const { return nfa_.states[static_cast<size_t>(state)]; }

  const NfaStates& set_at(int32_t state) const { return sets_[static_cast<size_t>(state)]; }

  void step(size_t count = 1) { steps_left_ -= std::min(steps_left_, count); }

  /// Whatever can be reached without a character. Kept are the states at which something happens.
  NfaStates closure(std::span<const int32_t> from, Place place) {
    ++stamp_;
    NfaStates result;
    std::vector<int32_t> waiting(from.begin(), from.end());
    while (!waiting.empty()) {
      const int32_t number = waiting.back();
      waiting.pop_back();
      if (number == NfaState::kNone) continue;
      uint32_t& seen = seen_[static_cast<size_t>(number)];
      if (std::exchange(seen, stamp_) == stamp_) continue;
      step();
      const NfaState& state = nfa_state(number);
      switch (state.kind) {
        case NfaState::Kind::split:
          waiting.push_back(state.other);
          waiting.push_back(state.next);
          break;
        case NfaState::Kind::begin:
          if (place.at_begin) waiting.push_back(state.next);
          break;
        case NfaState::Kind::end:
          if (place.at_end) waiting.push_back(state.next);
          result.push_back(number);
          break;
        case NfaState::Kind::done:
          return {number};  // no other state changes anything
        case NfaState::Kind::set:
        case NfaState::Kind::accept:
          result.push_back(number);
          break;
      }
    }
    std::ranges::sort(result);
    return result;
  }

  bool accepts_end(const NfaStates& set, bool at_begin) {
    const NfaStates at_end = closure(set, {.at_begin = at_begin, .at_end = true});
    return std::ranges::any_of(at_end, [&](int32_t number) {
      const NfaState::Kind kind = nfa_state(number).kind;
      return kind == NfaState::Kind::accept || kind == NfaState::Kind::done;
    });
  }

  void add_edges(const NfaStates& set) {
    if (!set.empty() && nfa_state(set.front()).kind == NfaState::Kind::done) {
      add_gap(0, kLastCodePoint + 1, number_of(set));
      return;
    }
    find_targets(set);
    // Elsewhere the search can only begin anew.
    const int32_t elsewhere = nfa_.restarts ? number_of(restart_) : CodePointDfa::kDead;
    char32_t gap = 0;
    for (const RegexAlphabet::Piece& piece : alphabet_.pieces) {
      add_gap(gap, piece.range.low, elsewhere);
      gap = piece.range.high + 1;
      const int32_t target = target_of_class_[static_cast<size_t>(piece.class_number)];
      if (target != CodePointDfa::kDead) dfa_.add_edge(piece.range.low, piece.range.high, target);
    }
    add_gap(gap, kLastCodePoint + 1, elsewhere);
    step(alphabet_.pieces.size() / 8);
  }

  /// Edges for low … end - 1.
  void add_gap(char32_t low, char32_t end, int32_t target) {
    if (target == CodePointDfa::kDead || low >= end) return;
    const CodePointSet characters({{low, end - 1}});
    for (const CodePointRange& range : characters.ranges())
      dfa_.add_edge(range.low, range.high, target);
  }

  /// Fills target_of_class_ for a set.
  void find_targets(const NfaStates& set) {
    for (NfaStates& next : next_of_class_)
      next.clear();
    for (const int32_t number : set) {
      const NfaState& state = nfa_state(number);
      if (state.kind != NfaState::Kind::set) continue;
      const std::vector<int32_t>& classes = alphabet_.classes_of[static_cast<size_t>(state.set)];
      for (const int32_t c : classes)
        next_of_class_[static_cast<size_t>(c)].push_back(state.next);
      step(classes.size());
    }
    std::map<std::span<const int32_t>, int32_t, SpanLess> known;  // classes often go the same way
    for (size_t c = 0; c < next_of_class_.size(); ++c) {
      NfaStates& next = next_of_class_[c];
      if (next.empty() && !nfa_.restarts) {
        target_of_class_[c] = CodePointDfa::kDead;
        continue;
      }
      const auto [place, added] = known.try_emplace(next, CodePointDfa::kDead);
      if (added) place->second = target_of(next);
      target_of_class_[c] = place->second;
      step(1 + next.size() / 8);
      if (steps_left_ == 0) return;
    }
  }

  struct SpanLess {
    bool operator()(std::span<const int32_t> a, std::span<const int32_t> b) const {
      return std::ranges::lexicographical_compare(a, b);
    }
  };

  int32_t target_of(const NfaStates& next) {
    std::vector<int32_t> from = next;
    if (nfa_.restarts) from.insert(from.end(), restart_.begin(), restart_.end());
    return number_of(closure(from, {}));
  }

  int32_t number_of(NfaStates set) {
    uint64_t hash = set.size();
    for (const int32_t state : set)
      add_to_hash(hash, static_cast<uint64_t>(state));
    const auto next = static_cast<int32_t>(sets_.size());
    const int32_t number =
        numbers_.find_or_add(hash, next, [&](int32_t known) { return set == set_at(known); });
    if (number == next) {
      kept_left_ -= std::min(kept_left_, set.size());
      sets_.push_back(std::move(set));
    }
    return number;
  }

  const Nfa& nfa_;
  const RegexAlphabet& alphabet_;
  AutomatonLimits limits_;
  size_t steps_left_;
  size_t kept_left_;
  std::vector<uint32_t> seen_;  // [NFA state]: the closure that met it last
  uint32_t stamp_ = 0;
  NfaStates restart_;
  std::vector<NfaStates> sets_;  // [DFA state]
  IndexTable numbers_;           // of all sets but the first
  std::vector<NfaStates> next_of_class_;
  std::vector<int32_t> target_of_class_;
  CodePointDfa dfa_;
};

}  // namespace

Result<Automaton> parse_regex(std::string_view pattern, RegexMatch match, AutomatonLimits limits) {
  TETRAD_ASSIGN(const RegexAst ast, parse_regex_syntax(pattern));
  TETRAD_ASSIGN(const Nfa nfa, build_nfa(ast, match, limits));
  TETRAD_ASSIGN(const RegexAlphabet alphabet, make_alphabet(ast.sets));
  TETRAD_ASSIGN(const CodePointDfa dfa, SubsetConstruction(nfa, alphabet, limits).run());
  return to_automaton(dfa);
}

}  // namespace tetrad::grammar
