#include "grammar/regex_nfa.h"

#include "grammar/code_point_dfa.h"

namespace tetrad::grammar {
namespace {

/// For each state of the result that is allowed.
constexpr size_t kNfaStatesPerState = 5;

/// Builds from the end: each node is given the state that comes behind it.
class NfaBuilder {
 public:
  NfaBuilder(const RegexAst& ast, AutomatonLimits limits)
      : ast_(ast), limits_(limits), steps_left_(kNfaStatesPerState * limits.max_states) {}

  Result<Nfa> build(RegexMatch match) {
    const bool search = match == RegexMatch::search;
    const int32_t last = add({.kind = search ? NfaState::Kind::done : NfaState::Kind::accept});
    TETRAD_ASSIGN(nfa_.start, node(ast_.root, last));
    nfa_.restarts = search;
    return std::move(nfa_);
  }

 private:
  using Kind = RegexNode::Kind;

  int32_t add(NfaState state) {
    nfa_.states.push_back(state);
    return static_cast<int32_t>(nfa_.states.size()) - 1;
  }

  /// Every call counts, so that copies of something empty come to an end as well.
  Result<int32_t> node(int32_t number, int32_t next) {
    if (steps_left_ == 0) return too_many_states(limits_);
    --steps_left_;
    const RegexNode& node = ast_.nodes[static_cast<size_t>(number)];
    switch (node.kind) {
      case Kind::set:
        return add({.kind = NfaState::Kind::set, .set = node.set, .next = next});
      case Kind::begin:
        return add({.kind = NfaState::Kind::begin, .next = next});
      case Kind::end:
        return add({.kind = NfaState::Kind::end, .next = next});
      case Kind::sequence:
        return sequence(node, next);
      case Kind::choice:
        return choice(node, next);
      case Kind::repeat:
        return repeat(node, next);
    }
    return fail(ErrorCode::internal, "a regular expression with a node of no kind");
  }

  Result<int32_t> sequence(const RegexNode& node, int32_t next) {
    for (size_t i = node.children.size(); i > 0; --i) {
      TETRAD_ASSIGN(next, this->node(node.children[i - 1], next));
    }
    return next;
  }

  Result<int32_t> choice(const RegexNode& node, int32_t next) {
    int32_t start = NfaState::kNone;
    for (size_t i = node.children.size(); i > 0; --i) {
      TETRAD_ASSIGN(const int32_t option, this->node(node.children[i - 1], next));
      start = add({.kind = NfaState::Kind::split, .next = option, .other = start});
    }
    return start;
  }

  Result<int32_t> repeat(const RegexNode& node, int32_t next) {
    const int32_t child = node.children.front();
    int32_t start = next;
    if (node.max == RegexNode::kUnbounded) {
      start = add({.kind = NfaState::Kind::split, .other = next});
      TETRAD_ASSIGN(const int32_t body, this->node(child, start));
      nfa_.states[static_cast<size_t>(start)].next = body;
    }
    // Each copy that may be left out leads straight to the end, not through all that follow.
    for (int64_t i = node.min; i < node.max; ++i) {
      TETRAD_ASSIGN(const int32_t body, this->node(child, start));
      start = add({.kind = NfaState::Kind::split, .next = body, .other = next});
    }
    for (int64_t i = 0; i < node.min; ++i) {
      TETRAD_ASSIGN(start, this->node(child, start));
    }
    return start;
  }

  const RegexAst& ast_;
  AutomatonLimits limits_;
  size_t steps_left_;
  Nfa nfa_;
};

}  // namespace

Result<Nfa> build_nfa(const RegexAst& ast, RegexMatch match, AutomatonLimits limits) {
  return NfaBuilder(ast, limits).build(match);
}

}  // namespace tetrad::grammar
