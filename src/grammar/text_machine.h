#pragma once

#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "grammar/code_point_dfa.h"

namespace tetrad::grammar {

/// The automaton of a machine that reads characters of `alphabet`, which is ascending ASCII, and is
/// described by
///   State           with an order, a value
///   start()         the first one
///   step(state, c)  the next one, or none
///   accepts(state)
template <class Machine>
Result<Automaton> automaton_of(const Machine& machine, std::string_view alphabet,
                               AutomatonLimits limits) {
  using State = typename Machine::State;
  std::map<State, int32_t> numbers = {{machine.start(), 0}};
  std::vector<State> states = {machine.start()};
  CodePointDfa dfa;
  for (size_t i = 0; i < states.size(); ++i) {
    const State state = states[i];
    for (const char c : alphabet) {
      const std::optional<State> next = machine.step(state, c);
      if (!next) continue;
      const auto [place, added] = numbers.try_emplace(*next, static_cast<int32_t>(states.size()));
      if (added) states.push_back(*next);
      const auto code_point = static_cast<char32_t>(c);
      dfa.add_edge(code_point, code_point, place->second);
    }
    dfa.end_state(machine.accepts(state) ? 0 : CodePointDfa::kNoLabel);
    if (states.size() > limits.max_states) return too_many_states(limits);
  }
  return to_automaton(dfa);
}

}  // namespace tetrad::grammar
