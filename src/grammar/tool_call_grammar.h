#pragma once

// Tool calls in MiniMax-M2's own markup (minimax-m2 spec, sections 5.5 and 6.9):
//
//   <minimax:tool_call>⏎
//   <invoke name="f">⏎
//   <parameter name="city">Paris</parameter>⏎
//   </invoke>⏎
//   </minimax:tool_call>

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "grammar/grammar.h"
#include "grammar/schema_limits.h"
#include "text/token_id.h"

namespace tetrad::grammar {

struct ToolCallGrammar {
  struct Tool {
    std::string name;
    /// The JSON Schema of the arguments; empty: anything.
    json::object parameters;
    /// The arguments satisfy the schema. Otherwise they have its names, and any text as values.
    bool strict = false;
    /// How the request calls `parameters`, for errors; empty: tools[i].function.parameters.
    std::string param;
  };
  std::vector<Tool> tools;
  /// <minimax:tool_call>; none: it is there already.
  std::optional<TokenId> begin;
  /// </minimax:tool_call>; none, or negative: spelled out.
  std::optional<TokenId> end;
  /// More than one call.
  bool parallel = true;
};

/// One call or more. Parameters come in any order, each at most once; those that the schema has no
/// name for, where it allows them, have names of letters, digits, `_`, `.` and `-`.
///
/// What a text stands for is decided by argument_json() (src/chat). The values of a strict tool are
/// such that it makes of them what satisfies the schema: a string where other types are allowed too
/// is none that looks like one of these. What can't be written so is out of reach: strings with a
/// newline at either end where that matters, or with the closing tag in them.
///
/// Errors, all ErrorCode::invalid_argument with the path of the schema: as add_json_schema(); a
/// parameter whose name can't stand in a tag.
Result<NodeId> add_tool_calls(Builder& builder, const ToolCallGrammar& calls,
                              const SchemaLimits& limits = {});

}  // namespace tetrad::grammar
