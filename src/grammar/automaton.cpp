#include "grammar/automaton.h"

#include <algorithm>
#include <limits>

#include "grammar/code_point_dfa.h"
#include "grammar/code_point_set.h"
#include "text/utf8.h"

namespace tetrad::grammar {
namespace {

Automaton wrap_dfa(CodePointDfa dfa) {
  return Automaton(std::make_shared<const Automaton::Impl>(Automaton::Impl{std::move(dfa)}));
}

void add_every_code_point(CodePointDfa& dfa, int32_t target) {
  const CodePointSet all = CodePointSet::all();
  for (const CodePointRange& range : all.ranges())
    dfa.add_edge(range.low, range.high, target);
}

/// What two automata make together, by which of them must, may or must not hold a text.
class BinaryRule : public ProductRule {
 public:
  enum class Operation { intersect, unite, subtract };

  BinaryRule(const CodePointDfa& left, const CodePointDfa& right, Operation operation)
      : factors_{&left, &right}, operation_(operation) {}

  bool keeps(std::span<const FactorState> alive) const override {
    if (operation_ == Operation::intersect) return alive.size() == 2;
    if (operation_ == Operation::unite) return !alive.empty();
    return !alive.empty() && alive.front().factor == 0;
  }

  int32_t label(std::span<const FactorState> alive) override {
    bool accepted[2] = {false, false};
    for (const FactorState& item : alive) {
      accepted[item.factor] = factors_[item.factor]->label(item.state) != CodePointDfa::kNoLabel;
    }
    bool wanted = accepted[0] && accepted[1];
    if (operation_ == Operation::unite) wanted = accepted[0] || accepted[1];
    if (operation_ == Operation::subtract) wanted = accepted[0] && !accepted[1];
    return wanted ? 0 : CodePointDfa::kNoLabel;
  }

 private:
  const CodePointDfa* factors_[2];
  Operation operation_;
};

Result<Automaton> combine(const CodePointDfa& left, const CodePointDfa& right,
                          BinaryRule::Operation operation, AutomatonLimits limits) {
  BinaryRule rule(left, right, operation);
  const CodePointDfa* const factors[] = {&left, &right};
  TETRAD_ASSIGN(CodePointDfa dfa, product(factors, rule, limits));
  return wrap_dfa(std::move(dfa));
}

}  // namespace

Automaton Automaton::none() {
  return wrap_dfa(CodePointDfa());
}

Automaton Automaton::any() {
  CodePointDfa dfa;
  add_every_code_point(dfa, 0);
  dfa.end_state(0);
  return wrap_dfa(std::move(dfa));
}

Automaton Automaton::literal(std::string_view text) {
  CodePointDfa dfa;
  int32_t state = 0;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    dfa.add_edge(c, c, ++state);
    dfa.end_state(CodePointDfa::kNoLabel);
  }
  dfa.end_state(0);
  return wrap_dfa(std::move(dfa));
}

Result<Automaton> Automaton::length(int64_t min, std::optional<int64_t> max,
                                    AutomatonLimits limits) {
  if (max && (*max < min || *max < 0)) return none();
  const int64_t last = std::max<int64_t>(max.value_or(min), 0);
  if (last >= static_cast<int64_t>(limits.max_states)) {
    return fail(ErrorCode::invalid_argument,
                "a length of {} characters is too large: at most {} can be counted here", last,
                limits.max_states - 1);
  }
  CodePointDfa dfa;
  for (int64_t length = 0; length <= last; ++length) {
    if (length < last || !max) {
      add_every_code_point(dfa, static_cast<int32_t>(std::min(length + 1, last)));
    }
    dfa.end_state(length >= min ? 0 : CodePointDfa::kNoLabel);
  }
  return wrap_dfa(std::move(dfa));
}

Result<Automaton> Automaton::intersect(const Automaton& other, AutomatonLimits limits) const {
  return combine(impl_->dfa, other.impl_->dfa, BinaryRule::Operation::intersect, limits);
}

Result<Automaton> Automaton::unite(const Automaton& other, AutomatonLimits limits) const {
  return combine(impl_->dfa, other.impl_->dfa, BinaryRule::Operation::unite, limits);
}

Result<Automaton> Automaton::subtract(const Automaton& other, AutomatonLimits limits) const {
  return combine(impl_->dfa, other.impl_->dfa, BinaryRule::Operation::subtract, limits);
}

bool Automaton::empty() const {
  return impl_->dfa.num_states() == 0;
}

bool Automaton::contains(std::string_view text) const {
  if (empty() || find_invalid_utf8(text)) return false;
  int32_t state = 0;
  for (size_t at = 0; at < text.size();) {
    state = impl_->dfa.next(state, next_code_point(text, at));
    if (state == CodePointDfa::kDead) return false;
  }
  return impl_->dfa.label(state) != CodePointDfa::kNoLabel;
}

}  // namespace tetrad::grammar
