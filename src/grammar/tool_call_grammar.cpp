#include "grammar/tool_call_grammar.h"

#include <algorithm>

#include "grammar/schema_keywords.h"
#include "grammar/tool_call_types.h"
#include "grammar/tool_call_values.h"

namespace tetrad::grammar {
namespace {

constexpr std::string_view kParameterPrefix = "<parameter name=\"";
constexpr std::string_view kTagSuffix = "\">";

bool can_stand_in_tag(std::string_view name) {
  return !name.empty() && name.front() != ' ' && name.back() != ' ' &&
         std::ranges::none_of(name, [](unsigned char c) {
           return c < 0x20 || c == 0x7f || c == '"' || c == '<' || c == '>';
         });
}

class ToolCallCompiler {
 public:
  ToolCallCompiler(Builder& builder, const SchemaLimits& limits)
      : builder_(builder), limits_(limits) {}

  Result<NodeId> compile(const ToolCallGrammar& calls);

 private:
  Result<void> create_nodes();
  /// Behind the opening tag of a call.
  Result<NodeId> rest_of_call(const ToolCallGrammar::Tool& tool, std::string_view param);
  Result<NodeId> strict_parameters(const SchemaDocument& document, std::string_view param);
  Result<NodeId> strict_members(SchemaCompiler& compiler, ParameterTexts& texts, ObjectShape shape);
  Result<NodeId> loose_parameters(const SchemaDocument& document, std::string_view param);
  Result<void> check_names(const SchemaDocument& document, const ObjectShape& shape) const;
  Members parameters_without_kinds() const;

  Builder& builder_;
  SchemaLimits limits_;
  JsonSyntax syntax_{};
  NodeId free_text_ = 0;
  NodeId parameter_end_ = 0;
  NodeId invoke_end_ = 0;
  Automaton other_names_ = Automaton::none();
};

Result<void> ToolCallCompiler::create_nodes() {
  TETRAD_ASSIGN(syntax_, JsonSyntax::create(builder_, kEndsOfValues));
  TETRAD_ASSIGN(free_text_, free_parameter_text(builder_));
  parameter_end_ = builder_.literal(std::string(kParameterEnd) + "\n");
  invoke_end_ = builder_.literal("</invoke>\n");
  TETRAD_ASSIGN(other_names_, parse_regex("[A-Za-z0-9_.\\-]{1,64}", RegexMatch::whole, {}));
  return {};
}

Members ToolCallCompiler::parameters_without_kinds() const {
  return Members{.open = syntax_.nothing,
                 .separator = syntax_.nothing,
                 .close = invoke_end_,
                 .between = syntax_.nothing,
                 .after = parameter_end_};
}

Result<void> ToolCallCompiler::check_names(const SchemaDocument& document,
                                           const ObjectShape& shape) const {
  for (const ObjectShape::Property& property : shape.properties) {
    if (!property.value || can_stand_in_tag(property.key)) continue;
    return document.fail_at(document.root(), "",
                            "has a parameter named {}, which can't stand in a tag of the model's "
                            "markup: no quotes, angle brackets, control characters and spaces at "
                            "either end",
                            to_json_text(json::value(json::string_view(property.key))));
  }
  return {};
}

Result<NodeId> ToolCallCompiler::strict_members(SchemaCompiler& compiler, ParameterTexts& texts,
                                                ObjectShape shape) {
  TETRAD_TRY(check_names(compiler.document(), shape));
  for (ObjectShape::Property& property : shape.properties) {
    if (property.required && !property.value) return builder_.never();
  }
  if (shape.min_properties > shape.max_properties.value_or(kUnbounded)) return builder_.never();
  Automaton names = other_names_;
  if (shape.names) {
    TETRAD_ASSIGN(names, names.intersect(*shape.names, limits_.automata));
  }
  shape.names = std::move(names);
  TETRAD_ASSIGN(const SchemaCompiler::Keys keys,
                compiler.keys_of(shape, Encoding::utf8, kParameterPrefix, kTagSuffix));
  if (keys.dfa == nullptr) return shape.min_properties > 0 ? builder_.never() : invoke_end_;
  Members members = parameters_without_kinds();
  members.keys = keys.dfa;
  members.min_members = shape.min_properties;
  members.max_members = shape.max_properties.value_or(kUnbounded);
  for (const SchemaCompiler::Keys::Kind& kind : keys.kinds) {
    NodeId value = builder_.never();
    if (kind.value) {
      const TypeMask types =
          kind.once ? argument_types(compiler.document().root(), kind.key) : kStringType;
      TETRAD_ASSIGN(value, texts.texts_of(*kind.value, types));
    }
    members.kinds.push_back({.value = value, .required = kind.required, .once = kind.once});
  }
  return builder_.add(std::move(members));
}

Result<NodeId> ToolCallCompiler::strict_parameters(const SchemaDocument& document,
                                                   std::string_view param) {
  SchemaCompiler compiler(document, builder_, syntax_, limits_, param);
  ParameterTexts texts(compiler, free_text_);
  TETRAD_ASSIGN(
      const std::shared_ptr<const Ways> ways,
      compiler.ways(as_set({Term::schema(document.root()), Term::of_types(kObjectType)})));
  std::vector<NodeId> options;
  for (const Alternative& alternative : ways->alternatives) {
    TETRAD_ASSIGN(ObjectShape shape, compiler.objects_of(alternative));
    TETRAD_ASSIGN(const NodeId node, strict_members(compiler, texts, std::move(shape)));
    options.push_back(node);
  }
  TETRAD_TRY(compiler.finish());
  limits_.max_steps = compiler.budget().steps_left();
  return options.size() == 1 ? options[0] : builder_.choice(std::move(options));
}

/// The names of the schema's "properties", whatever else it says; any if there are none.
Result<NodeId> ToolCallCompiler::loose_parameters(const SchemaDocument& document,
                                                  std::string_view param) {
  ObjectShape shape;
  TETRAD_ASSIGN(const json::object* properties,
                object_member(document, document.root(), "properties"));
  if (properties != nullptr) {
    for (const auto& [key, schema] : *properties)
      shape.properties.push_back({.key = key, .value = Terms()});
  }
  TETRAD_TRY(check_names(document, shape));
  const json::value* additional = schema_member(document.root(), "additionalProperties");
  const bool closed = additional != nullptr && is_false_schema(*additional);
  shape.has_others = shape.properties.empty() && !closed;
  shape.names = other_names_;
  SchemaCompiler compiler(document, builder_, syntax_, limits_, param);
  TETRAD_ASSIGN(const SchemaCompiler::Keys keys,
                compiler.keys_of(shape, Encoding::utf8, kParameterPrefix, kTagSuffix));
  limits_.max_steps = compiler.budget().steps_left();
  if (keys.dfa == nullptr) return invoke_end_;
  Members members = parameters_without_kinds();
  members.keys = keys.dfa;
  for (const SchemaCompiler::Keys::Kind& kind : keys.kinds)
    members.kinds.push_back({.value = free_text_, .once = kind.once});
  return builder_.add(std::move(members));
}

Result<NodeId> ToolCallCompiler::rest_of_call(const ToolCallGrammar::Tool& tool,
                                              std::string_view param) {
  const json::value schema(tool.parameters);
  TETRAD_ASSIGN(const SchemaDocument document, SchemaDocument::scan(schema, param, limits_));
  return tool.strict ? strict_parameters(document, param) : loose_parameters(document, param);
}

Result<NodeId> ToolCallCompiler::compile(const ToolCallGrammar& calls) {
  TETRAD_TRY(create_nodes());
  const bool spelled = !calls.end || *calls.end < 0;
  Members members{
      .open = builder_.literal("\n"),
      .separator = syntax_.nothing,
      .close = spelled ? builder_.literal("</minimax:tool_call>") : builder_.special(*calls.end),
      .between = syntax_.nothing,
      .after = syntax_.nothing,
      .min_members = 1,
      .max_members = calls.parallel ? kUnbounded : 1};
  if (calls.begin) members.open = builder_.sequence({builder_.special(*calls.begin), members.open});
  std::vector<Automaton> names;
  std::vector<NodeId> values;
  for (size_t i = 0; i < calls.tools.size(); ++i) {
    const ToolCallGrammar::Tool& tool = calls.tools[i];
    const std::string param =
        tool.param.empty() ? fmt::format("tools[{}].function.parameters", i) : tool.param;
    if (!can_stand_in_tag(tool.name))
      return fail_param(param, "\"{}\" belong to a tool whose name can't stand in a tag", param);
    TETRAD_ASSIGN(const NodeId value, rest_of_call(tool, param));
    names.push_back(Automaton::literal(tool.name));
    values.push_back(value);
  }
  if (names.empty()) return builder_.never();
  TETRAD_ASSIGN(const Classifier told,
                classify(names, Encoding::utf8, "\">\n", {.max_states = 500'000}));
  members.keys = std::make_shared<const ByteDfa>(with_prefix("<invoke name=\"", told.dfa));
  for (const std::vector<int32_t>& tools : told.members)
    members.kinds.push_back({.value = values[static_cast<size_t>(tools[0])]});
  return builder_.add(std::move(members));
}

}  // namespace

Result<NodeId> add_tool_calls(Builder& builder, const ToolCallGrammar& calls,
                              const SchemaLimits& limits) {
  return ToolCallCompiler(builder, limits).compile(calls);
}

}  // namespace tetrad::grammar
