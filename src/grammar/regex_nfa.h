#pragma once

#include <cstdint>
#include <vector>

#include "grammar/automaton.h"
#include "grammar/regex_ast.h"

namespace tetrad::grammar {

/// A state of a non-deterministic automaton.
struct NfaState {
  enum class Kind {
    set,     // a character of the set, then `next`
    split,   // both `next` and `other`
    begin,   // at the text's beginning: `next`
    end,     // at the text's end: `next`
    accept,  // the text, if it ends here
    done,    // the text, however it goes on
  };
  static constexpr int32_t kNone = -1;

  Kind kind = Kind::accept;
  int32_t set = -1;
  int32_t next = kNone;
  int32_t other = kNone;
};

struct Nfa {
  std::vector<NfaState> states;
  int32_t start = 0;
  /// A match may begin later than the text: the search begins anew with each character.
  bool restarts = false;
};

/// Error: more states than some times the limit.
Result<Nfa> build_nfa(const RegexAst& ast, RegexMatch match, AutomatonLimits limits);

}  // namespace tetrad::grammar
