#pragma once

#include <string_view>

#include "base/error.h"
#include "grammar/automaton.h"
#include "grammar/grammar.h"

namespace tetrad::grammar {

struct EbnfLimits {
  size_t max_bytes = 256 << 10;
  int max_depth = 200;  // of parentheses
  int64_t max_repetitions = 100'000;
  AutomatonLimits automata;
};

/// A grammar in the notation of llama.cpp's GBNF and xgrammar's EBNF:
///
///     root  ::= "yes" | "no" item{1,3}   # a comment
///     item  ::= [a-z]+ ("," [^0-9\n])? .
///
/// Returns the node of the rule `root`. Errors name the line; a rule that begins with itself is
/// found by Builder::finish().
Result<NodeId> add_ebnf(Builder& builder, std::string_view text, EbnfLimits limits = {});

}  // namespace tetrad::grammar
