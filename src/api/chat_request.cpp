#include "api/chat_request.h"

namespace tetrad::api {
namespace {

constexpr size_t kMaxMessages = 4096;
constexpr size_t kMaxTools = 1024;

Result<json::array> read_messages(FieldReader& fields) {
  TETRAD_ASSIGN(const json::array* messages, fields.array("messages"));
  if (messages == nullptr || messages->empty()) {
    return fail_param("messages", "\"messages\" must be an array with at least one message");
  }
  if (messages->size() > kMaxMessages) {
    return fail_param("messages", "\"messages\" may hold at most {} messages, not {}", kMaxMessages,
                      messages->size());
  }
  for (size_t i = 0; i < messages->size(); ++i) {
    const json::value& message = (*messages)[i];
    if (!message.is_object()) {
      return wrong_kind(fmt::format("messages[{}]", i), "an object", message);
    }
  }
  return *messages;
}

Result<void> check_tool(const json::value& tool, size_t index) {
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
  FieldReader function_fields(*function, name + ".function.");
  TETRAD_ASSIGN(const std::optional<std::string> function_name, function_fields.string("name"));
  if (!function_name || function_name->empty()) {
    return fail_param(name + ".function.name", "\"{}.function.name\" is missing", name);
  }
  return {};
}

/// Whether the model may see the tools. Forcing a call needs constrained decoding.
Result<bool> tools_are_offered(FieldReader& fields) {
  const json::value* choice = fields.find("tool_choice");
  if (choice == nullptr || *choice == "auto") return true;
  if (*choice == "none") return false;
  if (choice->is_object() || *choice == "required") {
    return unsupported_field("tool_choice",
                             "\"tool_choice\": forcing a tool call is not yet supported; use "
                             "\"auto\" or \"none\"");
  }
  return fail_param("tool_choice", "\"tool_choice\" must be \"auto\" or \"none\"");
}

Result<json::array> read_tools(FieldReader& fields) {
  TETRAD_ASSIGN(const bool offered, tools_are_offered(fields));
  TETRAD_ASSIGN(const json::array* tools, fields.array("tools"));
  if (tools == nullptr) return json::array();
  if (tools->size() > kMaxTools) {
    return fail_param("tools", "\"tools\" may hold at most {} tools, not {}", kMaxTools,
                      tools->size());
  }
  for (size_t i = 0; i < tools->size(); ++i)
    TETRAD_TRY(check_tool((*tools)[i], i));
  return offered ? *tools : json::array();
}

}  // namespace

Result<ChatRequest> parse_chat_request(std::string_view body) {
  TETRAD_ASSIGN(const json::object object, parse_body(body));
  FieldReader fields(object);
  ChatRequest request;
  TETRAD_ASSIGN(request.common, read_common(fields, Dialect::chat));
  TETRAD_ASSIGN(request.input.messages, read_messages(fields));
  TETRAD_ASSIGN(request.input.tools, read_tools(fields));
  TETRAD_ASSIGN(const std::optional<bool> generation_prompt,
                fields.boolean("add_generation_prompt"));
  request.input.add_generation_prompt = generation_prompt.value_or(true);
  TETRAD_ASSIGN(const std::optional<bool> include_reasoning, fields.boolean("include_reasoning"));
  request.include_reasoning = include_reasoning.value_or(true);
  TETRAD_ASSIGN(const json::object* kwargs, fields.object("chat_template_kwargs"));
  if (kwargs != nullptr) request.input.template_kwargs = *kwargs;
  // Whether effort means anything is the template's decision.
  TETRAD_ASSIGN(const std::optional<std::string> effort, fields.string("reasoning_effort"));
  if (effort) request.input.template_kwargs.emplace("reasoning_effort", *effort);
  for (std::string& name : fields.unread())
    request.common.unknown_fields.push_back(std::move(name));
  return request;
}

}  // namespace tetrad::api
