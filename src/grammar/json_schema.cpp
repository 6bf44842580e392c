#include "grammar/json_schema.h"

#include "grammar/schema_compiler.h"

namespace tetrad::grammar {
namespace {

Result<NodeId> add_values(Builder& builder, const json::value& schema, const Terms& terms,
                          std::string_view param, const SchemaLimits& limits) {
  TETRAD_ASSIGN(const SchemaDocument document, SchemaDocument::scan(schema, param, limits));
  TETRAD_ASSIGN(const JsonSyntax syntax, JsonSyntax::create(builder));
  SchemaCompiler compiler(document, builder, syntax, limits, param);
  const NodeId root = compiler.values_of(terms);
  TETRAD_TRY(compiler.finish());
  return root;
}

}  // namespace

Result<NodeId> add_json_schema(Builder& builder, const json::value& schema, std::string_view param,
                               const SchemaLimits& limits) {
  return add_values(builder, schema, {Term::schema(schema)}, param, limits);
}

Result<NodeId> add_any_json(Builder& builder) {
  return add_values(builder, json::value(true), {}, "schema", {});
}

Result<NodeId> add_any_json_object(Builder& builder) {
  return add_values(builder, json::value(true), {Term::of_types(kObjectType)}, "schema", {});
}

}  // namespace tetrad::grammar
