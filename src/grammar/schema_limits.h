#pragma once

#include <cstddef>

#include "grammar/automaton.h"

namespace tetrad::grammar {

/// What a JSON Schema may cost. All of them together let a compilation end within about a second.
struct SchemaLimits {
  size_t max_schema_bytes = 1 << 20;  // of its keys, strings and values, about
  size_t max_depth = 200;             // nesting of the JSON text
  /// Nodes of the grammar, from the first one of the schema on.
  size_t max_nodes = 150'000;
  /// Ways in which one value can satisfy its anyOf, oneOf, …, multiplied out.
  size_t max_alternatives = 20'000;
  /// Work, in steps of 0.1 µs or so.
  size_t max_steps = 10'000'000;
  AutomatonLimits automata;
};

}  // namespace tetrad::grammar
