#pragma once

// The texts of a tool call's parameters.

#include "grammar/schema_compiler.h"

namespace tetrad::grammar {

constexpr std::string_view kParameterEnd = "</parameter>";

/// Any text that does not hold the closing tag.
Result<NodeId> free_parameter_text(Builder& builder);

class ParameterTexts {
 public:
  /// `compiler`: with a syntax that forbids kParameterEnd.
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
