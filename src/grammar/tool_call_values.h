#pragma once

// The texts of a tool call's parameters.

#include "grammar/schema_compiler.h"

namespace tetrad::grammar {

constexpr std::string_view kParameterEnd = "</parameter>";

/// What ends a value wherever it stands, as the parser reads it (chat/output_parser.h): a closing
/// tag, and an opening one, because the model might have forgotten to close.
constexpr std::string_view kEndsOfValues =
    "[<](/(parameter|invoke|minimax:tool_call)[>]|(invoke|parameter)[ \\t\\r\\n]+name)";

/// Any text that does not hold one of kEndsOfValues.
Result<NodeId> free_parameter_text(Builder& builder);

class ParameterTexts {
 public:
  /// `compiler`: with a syntax that forbids kEndsOfValues.
  explicit ParameterTexts(SchemaCompiler& compiler, NodeId free_text)
      : compiler_(compiler), free_text_(free_text) {}

  /// The texts that become values that satisfy `terms`; `types`: see argument_types().
  Result<NodeId> texts_of(const Terms& terms, TypeMask types);

 private:
  Result<void> add(const Alternative& alternative, TypeMask types, std::vector<NodeId>& options);
  Result<NodeId> raw_strings(const StringSet& set, TypeMask others);
  Result<NodeId> long_strings(const StringSet& set);
  Result<Automaton> looks_like(TypeMask types);

  SchemaCompiler& compiler_;
  NodeId free_text_;
};

}  // namespace tetrad::grammar
