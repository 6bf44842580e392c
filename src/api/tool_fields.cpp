#include "api/tool_fields.h"

#include <algorithm>
#include <utility>

namespace tetrad::api {
namespace {

constexpr size_t kMaxTools = 1024;
constexpr size_t kMaxSchemaBytes = 1 << 20;
constexpr size_t kMaxToolNameBytes = 256;

/// A call's markup holds the name between quotes.
bool can_stand_in_markup(std::string_view name) {
  return std::ranges::none_of(name, [](unsigned char c) {
    return c < 0x20 || c == 0x7f || c == '"' || c == '<' || c == '>';
  });
}

Result<std::string> checked_tool_name(std::optional<std::string> given, const std::string& field) {
  if (!given) return fail_param(field, "\"{}\" is missing", field);
  std::string name = std::move(*given);
  if (name.empty() || name.size() > kMaxToolNameBytes) {
    return fail_param(field, "\"{}\" must be 1 to {} bytes long, this one has {}", field,
                      kMaxToolNameBytes, name.size());
  }
  if (!can_stand_in_markup(name)) {
    return fail_param(field, "\"{}\" may hold no quotes, angle brackets and control characters",
                      field);
  }
  return name;
}

Result<void> read_chat_tool(const json::value& tool, size_t index, ToolCollector& tools) {
  const std::string name = fmt::format("tools[{}]", index);
  if (!tool.is_object()) return wrong_kind(name, "an object", tool);
  FieldReader fields(tool.get_object(), name + ".");
  TETRAD_ASSIGN(const std::optional<std::string> type, fields.string("type"));
  if (type.value_or("function") != "function") {
    return fail_param(name + ".type", "\"{}.type\" must be \"function\"", name);
  }
  TETRAD_ASSIGN(const json::object* function, fields.object("function"));
  if (function == nullptr) {
    return fail_param(name + ".function", "\"{}.function\" is missing", name);
  }
  FieldReader members(*function, name + ".function.");
  ToolCollector::Tool read{
      .where = name + ".function", .schema_name = "parameters", .function = *function};
  TETRAD_ASSIGN(read.name, members.string("name"));
  TETRAD_TRY(members.string("description"));
  TETRAD_ASSIGN(read.parameters, members.object("parameters"));
  TETRAD_ASSIGN(const std::optional<bool> strict, members.boolean("strict"));
  read.strict = strict.value_or(false);
  return tools.add(std::move(read));
}

/// {"type": "function", "function": {"name"}}.
Result<ToolChoice> read_chat_choice_object(const json::object& choice) {
  FieldReader fields(choice, "tool_choice.");
  TETRAD_ASSIGN(const std::optional<std::string> type, fields.string("type"));
  if (type == "allowed_tools") {
    return unsupported_field("tool_choice.allowed_tools",
                             "\"tool_choice.allowed_tools\" is not supported by this server; "
                             "send only those \"tools\"");
  }
  if (type.value_or("function") != "function") {
    return fail_param("tool_choice.type", "\"tool_choice.type\" must be \"function\"");
  }
  TETRAD_ASSIGN(const json::object* function, fields.object("function"));
  if (function == nullptr) {
    return fail_param("tool_choice.function", "\"tool_choice.function\" is missing");
  }
  FieldReader members(*function, "tool_choice.function.");
  TETRAD_ASSIGN(std::optional<std::string> name, members.string("name"));
  if (!name) {
    return fail_param("tool_choice.function.name", "\"tool_choice.function.name\" is missing");
  }
  return ToolChoice{ToolChoice::Mode::named, std::move(*name)};
}

Result<ToolChoice> read_chat_choice(FieldReader& fields) {
  const json::value* choice = fields.find("tool_choice");
  if (choice == nullptr) return ToolChoice();
  if (const auto word = tool_choice_of_word(*choice)) return *word;
  if (choice->is_object()) return read_chat_choice_object(choice->get_object());
  return fail_param("tool_choice",
                    "\"tool_choice\" must be \"auto\", \"none\", \"required\" or an object that "
                    "names a function");
}

}  // namespace

std::optional<ToolChoice> tool_choice_of_word(const json::value& choice) {
  if (choice == "auto") return ToolChoice{ToolChoice::Mode::automatic, ""};
  if (choice == "none") return ToolChoice{ToolChoice::Mode::none, ""};
  if (choice == "required") return ToolChoice{ToolChoice::Mode::required, ""};
  return std::nullopt;
}

Result<void> ToolCollector::check_count(const json::array& tools) {
  if (tools.size() <= kMaxTools) return {};
  return fail_param("tools", "\"tools\" may hold at most {} tools, not {}", kMaxTools,
                    tools.size());
}

Result<void> ToolCollector::add(Tool tool) {
  TETRAD_ASSIGN(std::string name, checked_tool_name(std::move(tool.name), tool.where + ".name"));
  const bool is_double = std::ranges::any_of(
      definitions_, [&](const ToolDefinition& other) { return other.name == name; });
  if (is_double) {
    const std::string field = tool.where + ".name";
    return fail_param(field, "\"{}\": there is another tool of the name \"{}\"", field, name);
  }
  ToolDefinition definition{.name = std::move(name),
                            .parameters = {},
                            .strict = tool.strict,
                            .param = fmt::format("{}.{}", tool.where, tool.schema_name)};
  if (tool.parameters != nullptr) {
    schema_bytes_ += to_json_text(*tool.parameters).size();
    definition.parameters = *tool.parameters;
  }
  if (schema_bytes_ > kMaxSchemaBytes) {
    const std::string field = fmt::format("{}.{}", tool.where, tool.schema_name);
    return fail_param(field,
                      "\"{}\": the schemas of all tools together may have {} bytes of JSON; send "
                      "fewer tools or shorter schemas",
                      field, kMaxSchemaBytes);
  }
  definitions_.push_back(std::move(definition));
  for_prompt_.push_back(json::object{{"type", "function"}, {"function", std::move(tool.function)}});
  return {};
}

Result<RequestTools> ToolCollector::finish(ToolChoice choice, bool parallel_calls) && {
  if (choice.forces_call() && definitions_.empty()) {
    return fail_param("tool_choice", "\"tool_choice\" asks for a call, but there are no \"tools\"");
  }
  const bool is_known =
      choice.mode != ToolChoice::Mode::named ||
      std::ranges::any_of(definitions_, [&choice](const ToolDefinition& definition) {
        return definition.name == choice.name;
      });
  if (!is_known) {
    return fail_param("tool_choice", "\"tool_choice\" names {}, which is not among the \"tools\"",
                      to_json_text(json::value(choice.name)));
  }
  RequestTools tools{
      .for_prompt = {}, .definitions = nullptr, .choice = {}, .parallel_calls = parallel_calls};
  if (choice.mode != ToolChoice::Mode::none && !definitions_.empty()) {
    tools.for_prompt = std::move(for_prompt_);
    tools.definitions =
        std::make_shared<const std::vector<ToolDefinition>>(std::move(definitions_));
  }
  tools.choice = std::move(choice);
  return tools;
}

Result<RequestTools> read_openai_tools(FieldReader& fields, ToolChoice choice,
                                       Result<void> (*read_tool)(const json::value& tool,
                                                                 size_t index,
                                                                 ToolCollector& collector)) {
  TETRAD_ASSIGN(const std::optional<bool> parallel, fields.boolean("parallel_tool_calls"));
  TETRAD_ASSIGN(const json::array* tools, fields.array("tools"));
  ToolCollector collector;
  if (tools != nullptr) {
    TETRAD_TRY(ToolCollector::check_count(*tools));
    for (size_t i = 0; i < tools->size(); ++i)
      TETRAD_TRY(read_tool((*tools)[i], i, collector));
  }
  return std::move(collector).finish(std::move(choice), parallel.value_or(true));
}

Result<RequestTools> read_chat_tools(FieldReader& fields) {
  TETRAD_ASSIGN(ToolChoice choice, read_chat_choice(fields));
  return read_openai_tools(fields, std::move(choice), read_chat_tool);
}

}  // namespace tetrad::api
