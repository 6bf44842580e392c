#include "api/messages_input.h"

#include <algorithm>
#include <set>
#include <utility>

#include "api/chat_request.h"

namespace tetrad::api {
namespace {

using CallIds = std::set<std::string, std::less<>>;

constexpr size_t kMaxBlocks = 4096;

tl::unexpected<Error> unknown_block(const std::string& where, std::string_view type) {
  const std::string field = where + ".type";
  return unsupported_field(
      field, fmt::format("\"{}\": blocks of type {} are not supported: this model takes text, "
                         "thinking, tool_use and tool_result",
                         field, to_json_text(json::value(type))));
}

/// The type of a block, which must be an object.
Result<std::string> block_type(const json::value& block, const std::string& where) {
  if (!block.is_object()) return wrong_kind(where, "an object", block);
  FieldReader fields(block.get_object(), where + ".");
  return fields.required_string("type");
}

Result<void> check_num_blocks(const json::array& blocks, const std::string& where) {
  if (blocks.size() <= kMaxBlocks) return {};
  return fail_param(where, "\"{}\" may hold at most {} blocks, not {}", where, kMaxBlocks,
                    blocks.size());
}

/// The texts of a string or of text blocks, `separator` between them.
Result<std::string> read_text(const json::value& content, const std::string& where,
                              std::string_view separator) {
  if (content.is_string()) return std::string(content.get_string());
  if (!content.is_array()) return wrong_kind(where, "a string or an array of blocks", content);
  TETRAD_TRY(check_num_blocks(content.get_array(), where));
  std::string text;
  for (size_t i = 0; i < content.get_array().size(); ++i) {
    const json::value& block = content.get_array()[i];
    const std::string place = fmt::format("{}[{}]", where, i);
    TETRAD_ASSIGN(const std::string type, block_type(block, place));
    if (type != "text") return unknown_block(place, type);
    FieldReader fields(block.get_object(), place + ".");
    TETRAD_ASSIGN(const std::string part, fields.required_string("text"));
    if (i > 0) text += separator;
    text += part;
  }
  return text;
}

/// Claude Code begins its system text with a block that changes from request to request and is for
/// Anthropic's accounts: in a prompt it would keep every conversation out of the prefix cache.
bool is_billing_header(const json::value& block) {
  const json::object* object = block.if_object();
  const json::value* text = object != nullptr ? object->if_contains("text") : nullptr;
  return text != nullptr && text->is_string() &&
         std::string_view(text->get_string()).starts_with("x-anthropic-billing-header:");
}

Result<void> read_system(FieldReader& fields, json::array& messages) {
  const json::value* system = fields.find("system");
  if (system == nullptr) return {};
  json::value shown = *system;
  if (shown.is_array()) {
    json::array kept;
    for (const json::value& block : shown.get_array()) {
      if (!is_billing_header(block)) kept.push_back(block);
    }
    shown = std::move(kept);
  }
  TETRAD_ASSIGN(const std::string text, read_text(shown, "system", "\n\n"));
  if (!text.empty()) messages.push_back(json::object{{"role", "system"}, {"content", text}});
  return {};
}

Result<json::object> read_tool_result(const json::object& block, const std::string& where,
                                      const CallIds& calls) {
  FieldReader fields(block, where + ".");
  TETRAD_ASSIGN(const std::string id, fields.required_string("tool_use_id"));
  if (!calls.contains(id)) {
    const std::string field = where + ".tool_use_id";
    return fail_param(field, "\"{}\": no tool_use block before this result has the id {}", field,
                      to_json_text(json::value(id)));
  }
  std::string text;
  if (const json::value* content = fields.find("content")) {
    TETRAD_ASSIGN(text, read_text(*content, where + ".content", "\n"));
  }
  TETRAD_ASSIGN(const std::optional<bool> is_error, fields.boolean("is_error"));
  if (is_error.value_or(false) && !text.starts_with("Error")) text.insert(0, "Error: ");
  return json::object{{"role", "tool"}, {"tool_call_id", id}, {"content", text}};
}

/// A user's message: results of tools become messages of their own, text between them, too.
Result<void> read_user_blocks(const json::array& blocks, const std::string& where,
                              const CallIds& calls, json::array& messages) {
  json::array parts;
  const auto flush = [&] {
    if (parts.empty()) return;
    messages.push_back(json::object{{"role", "user"}, {"content", std::exchange(parts, {})}});
  };
  for (size_t i = 0; i < blocks.size(); ++i) {
    const std::string place = fmt::format("{}[{}]", where, i);
    TETRAD_ASSIGN(const std::string type, block_type(blocks[i], place));
    const json::object& block = blocks[i].get_object();
    if (type == "tool_result") {
      flush();
      TETRAD_ASSIGN(json::object result, read_tool_result(block, place, calls));
      messages.push_back(std::move(result));
    } else if (type == "text") {
      FieldReader fields(block, place + ".");
      TETRAD_ASSIGN(const std::string text, fields.required_string("text"));
      parts.push_back(json::object{{"type", "text"}, {"text", text}});
    } else {
      return unknown_block(place, type);
    }
  }
  flush();
  return {};
}

Result<json::object> read_tool_use(const json::object& block, const std::string& where,
                                   CallIds& calls) {
  FieldReader fields(block, where + ".");
  TETRAD_ASSIGN(const std::string id, fields.required_string("id"));
  TETRAD_ASSIGN(const std::string name, fields.required_string("name"));
  TETRAD_ASSIGN(const json::object* input, fields.object("input"));
  calls.insert(id);
  json::object function{{"name", name}, {"arguments", input != nullptr ? *input : json::object()}};
  return json::object{{"id", id}, {"type", "function"}, {"function", std::move(function)}};
}

/// What the blocks of an assistant's message say.
struct AssistantBlocks {
  std::string text;
  std::string thinking;
  bool has_thinking = false;
  json::array calls;
};

Result<void> read_assistant_block(const json::value& value, const std::string& place,
                                  CallIds& calls, AssistantBlocks& read) {
  TETRAD_ASSIGN(const std::string type, block_type(value, place));
  const json::object& block = value.get_object();
  FieldReader fields(block, place + ".");
  if (type == "text") {
    TETRAD_ASSIGN(const std::string text, fields.required_string("text"));
    read.text += text;
  } else if (type == "thinking") {
    TETRAD_ASSIGN(const std::string thinking, fields.required_string("thinking"));
    read.thinking += thinking;
    read.has_thinking = true;
  } else if (type == "tool_use") {
    TETRAD_ASSIGN(json::object call, read_tool_use(block, place, calls));
    read.calls.push_back(std::move(call));
  } else if (type != "redacted_thinking") {
    return unknown_block(place, type);
  }
  return {};
}

Result<json::object> read_assistant_blocks(const json::array& blocks, const std::string& where,
                                           CallIds& calls) {
  AssistantBlocks read;
  for (size_t i = 0; i < blocks.size(); ++i)
    TETRAD_TRY(read_assistant_block(blocks[i], fmt::format("{}[{}]", where, i), calls, read));
  json::object message{{"role", "assistant"}, {"content", read.text}};
  if (read.has_thinking) message["reasoning_content"] = read.thinking;
  if (!read.calls.empty()) message["tool_calls"] = std::move(read.calls);
  return message;
}

/// `calls`: the ids of the assistant's last message.
Result<void> read_message(const json::object& message, const std::string& where, CallIds& calls,
                          json::array& messages) {
  FieldReader fields(message, where + ".");
  TETRAD_ASSIGN(const std::string role, fields.required_string("role"));
  if (role != "user" && role != "assistant") {
    const std::string field = where + ".role";
    return fail_param(field,
                      "\"{}\" must be \"user\" or \"assistant\"; instructions belong into "
                      "\"system\"",
                      field);
  }
  const std::string place = where + ".content";
  const json::value* content = fields.find("content");
  if (content == nullptr) return fail_param(place, "\"{}\" is missing", place);
  if (role == "assistant") calls.clear();
  if (content->is_string()) {
    messages.push_back(json::object{{"role", role}, {"content", *content}});
    return {};
  }
  if (!content->is_array()) return wrong_kind(place, "a string or an array of blocks", *content);
  TETRAD_TRY(check_num_blocks(content->get_array(), place));
  if (role == "user") return read_user_blocks(content->get_array(), place, calls, messages);
  TETRAD_ASSIGN(json::object read, read_assistant_blocks(content->get_array(), place, calls));
  messages.push_back(std::move(read));
  return {};
}

Result<void> read_messages_tool(const json::value& tool, size_t index, ToolCollector& tools) {
  const std::string where = fmt::format("tools[{}]", index);
  if (!tool.is_object()) return wrong_kind(where, "an object", tool);
  FieldReader fields(tool.get_object(), where + ".");
  TETRAD_ASSIGN(const std::optional<std::string> stated, fields.string("type"));
  const std::string type = stated.value_or("custom");
  if (type != "custom") {
    return unsupported_field(where + ".type",
                             fmt::format("\"{}.type\": tools of type {} run on Anthropic's "
                                         "servers; this one knows only tools of the client",
                                         where, to_json_text(json::value(type))));
  }
  ToolCollector::Tool read{
      .where = where, .schema_name = "input_schema", .function = {}, .name = {}};
  TETRAD_ASSIGN(read.name, fields.string("name"));
  TETRAD_ASSIGN(const std::optional<std::string> description, fields.string("description"));
  TETRAD_ASSIGN(read.parameters, fields.object("input_schema"));
  if (read.parameters == nullptr) {
    return fail_param(where + ".input_schema", "\"{}.input_schema\" is missing", where);
  }
  TETRAD_ASSIGN(const std::optional<bool> strict, fields.boolean("strict"));
  read.strict = strict.value_or(false);
  read.function["name"] = read.name.value_or("");
  if (description) read.function["description"] = *description;
  read.function["parameters"] = *read.parameters;
  return tools.add(std::move(read));
}

Result<ToolChoice> read_messages_choice(FieldReader& fields, const std::string& type) {
  if (type == "auto") return ToolChoice{ToolChoice::Mode::automatic, ""};
  if (type == "none") return ToolChoice{ToolChoice::Mode::none, ""};
  if (type == "any") return ToolChoice{ToolChoice::Mode::required, ""};
  if (type == "tool") {
    TETRAD_ASSIGN(std::string name, fields.required_string("name"));
    return ToolChoice{ToolChoice::Mode::named, std::move(name)};
  }
  return fail_param("tool_choice.type",
                    "\"tool_choice.type\" must be \"auto\", \"any\", \"tool\" or \"none\"");
}

}  // namespace

Result<json::array> read_messages_input(FieldReader& fields) {
  TETRAD_ASSIGN(const json::array* messages, fields.array("messages"));
  TETRAD_TRY(check_messages(messages, "messages"));
  json::array read;
  TETRAD_TRY(read_system(fields, read));
  CallIds calls;
  for (size_t i = 0; i < messages->size(); ++i) {
    TETRAD_TRY(
        read_message((*messages)[i].get_object(), fmt::format("messages[{}]", i), calls, read));
  }
  if (read.empty() || read.back().get_object().at("role") == "system") {
    return fail_param("messages", "\"messages\" has nothing to answer: its contents are empty");
  }
  return read;
}

Result<RequestTools> read_messages_tools(FieldReader& fields) {
  ToolChoice choice;
  bool parallel = true;
  TETRAD_ASSIGN(const json::object* choice_object, fields.object("tool_choice"));
  if (choice_object != nullptr) {
    FieldReader members(*choice_object, "tool_choice.");
    TETRAD_ASSIGN(const std::string type, members.required_string("type"));
    TETRAD_ASSIGN(choice, read_messages_choice(members, type));
    TETRAD_ASSIGN(const std::optional<bool> one_only, members.boolean("disable_parallel_tool_use"));
    parallel = !one_only.value_or(false);
  }
  TETRAD_ASSIGN(const json::array* tools, fields.array("tools"));
  ToolCollector collector;
  if (tools != nullptr) {
    TETRAD_TRY(ToolCollector::check_count(*tools));
    for (size_t i = 0; i < tools->size(); ++i)
      TETRAD_TRY(read_messages_tool((*tools)[i], i, collector));
  }
  return std::move(collector).finish(std::move(choice), parallel);
}

}  // namespace tetrad::api
