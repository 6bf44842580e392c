#include "api/responses_input.h"

#include <algorithm>
#include <set>
#include <span>
#include <utility>

#include "api/chat_request.h"

namespace tetrad::api {
namespace {

/// Kinds of content parts.
using Types = std::span<const std::string_view>;

constexpr std::string_view kTextParts[] = {"input_text", "output_text", "text", "refusal"};
constexpr std::string_view kReasoningParts[] = {"reasoning_text", "text"};
constexpr std::string_view kSummaryParts[] = {"summary_text"};

/// Puts items together to messages.
class ItemFold {
 public:
  explicit ItemFold(json::array messages) : messages_(std::move(messages)) {}

  Result<void> add(const json::object& item, const std::string& where);
  json::array finish() && {
    flush();
    return std::move(messages_);
  }

 private:
  Result<void> add_message(FieldReader& fields);
  Result<void> add_reasoning(FieldReader& fields);
  Result<void> add_call(FieldReader& fields);
  Result<void> add_output(FieldReader& fields);
  void flush();

  json::array messages_;
  bool past_system_ = false;
  // The assistant's message that is being put together.
  std::optional<std::string> reasoning_;
  std::optional<std::string> content_;
  json::array calls_;
  std::set<std::string, std::less<>> call_ids_;  // of all calls so far
};

tl::unexpected<Error> missing(const std::string& field) {
  return fail_param(field, "\"{}\" is missing", field);
}

/// The texts of a list of {"type", "text"}; `types`: those that may be there.
Result<std::string> joined_parts(const json::array& parts, const std::string& where, Types types,
                                 std::string_view separator) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string place = fmt::format("{}[{}]", where, i);
    if (!parts[i].is_object()) return wrong_kind(place, "an object", parts[i]);
    FieldReader fields(parts[i].get_object(), place + ".");
    TETRAD_ASSIGN(const std::string type, fields.required_string("type"));
    if (std::ranges::find(types, type) == types.end()) {
      return unsupported_field(
          place + ".type", fmt::format("\"{}.type\": parts of type {} are not supported here: this "
                                       "model takes text",
                                       place, to_json_text(json::value(type))));
    }
    TETRAD_ASSIGN(const std::string part,
                  fields.required_string(type == "refusal" ? "refusal" : "text"));
    if (i > 0) text += separator;
    text += part;
  }
  return text;
}

/// A string or a list of text parts.
Result<std::string> text_content(FieldReader& fields, std::string_view name,
                                 std::string_view separator) {
  const std::string where = fields.full_name(name);
  const json::value* content = fields.find(name);
  if (content == nullptr) return missing(where);
  if (content->is_string()) return std::string(content->get_string());
  if (!content->is_array()) return wrong_kind(where, "a string or an array of parts", *content);
  return joined_parts(content->get_array(), where, kTextParts, separator);
}

void ItemFold::flush() {
  if (!reasoning_ && !content_ && calls_.empty()) return;
  json::object message{{"role", "assistant"}, {"content", content_.value_or("")}};
  if (reasoning_) message["reasoning_content"] = *reasoning_;
  if (!calls_.empty()) message["tool_calls"] = std::exchange(calls_, {});
  messages_.push_back(std::move(message));
  reasoning_.reset();
  content_.reset();
}

Result<void> ItemFold::add_message(FieldReader& fields) {
  TETRAD_ASSIGN(std::string role, fields.required_string("role"));
  TETRAD_ASSIGN(std::string text, text_content(fields, "content", ""));
  if (role == "assistant") {
    if (content_ || !calls_.empty()) flush();
    content_ = std::move(text);
    past_system_ = true;
    return {};
  }
  flush();
  const bool instructs = role == "system" || role == "developer";
  if (!instructs && role != "user") {
    const std::string field = fields.full_name("role");
    return fail_param(field, "\"{}\" must be \"user\", \"assistant\", \"system\" or \"developer\"",
                      field);
  }
  if (!instructs) past_system_ = true;
  messages_.push_back(json::object{{"role", instructs && past_system_ ? "user" : role.c_str()},
                                   {"content", std::move(text)}});
  return {};
}

Result<void> ItemFold::add_reasoning(FieldReader& fields) {
  // One that is only encrypted, or empty, says nothing here.
  std::string text;
  for (const auto& [name, types] :
       {std::pair{"content", Types(kReasoningParts)}, std::pair{"summary", Types(kSummaryParts)}}) {
    TETRAD_ASSIGN(const json::array* parts, fields.array(name));
    if (parts == nullptr || !text.empty()) continue;
    TETRAD_ASSIGN(text, joined_parts(*parts, fields.full_name(name), types, "\n\n"));
  }
  if (content_ || !calls_.empty()) flush();
  if (text.empty()) return {};
  reasoning_ = reasoning_.value_or("") + text;
  past_system_ = true;
  return {};
}

Result<void> ItemFold::add_call(FieldReader& fields) {
  TETRAD_ASSIGN(const std::string id, fields.required_string("call_id"));
  TETRAD_ASSIGN(const std::string name, fields.required_string("name"));
  TETRAD_ASSIGN(const std::optional<std::string> text, fields.string("arguments"));
  const std::string where = fields.full_name("arguments");
  json::object arguments;
  if (text && text->find_first_not_of(" \t\r\n") != std::string::npos) {
    const auto parsed = parse_json(*text);
    if (!parsed) return fail_param(where, "\"{}\" is {}", where, parsed.error().message);
    if (!parsed->is_object()) return wrong_kind(where, "the text of a JSON object", *parsed);
    arguments = parsed->get_object();
  }
  call_ids_.insert(id);
  past_system_ = true;
  json::object function{{"name", name}, {"arguments", std::move(arguments)}};
  calls_.push_back(
      json::object{{"id", id}, {"type", "function"}, {"function", std::move(function)}});
  return {};
}

Result<void> ItemFold::add_output(FieldReader& fields) {
  TETRAD_ASSIGN(const std::string id, fields.required_string("call_id"));
  if (!call_ids_.contains(id)) {
    const std::string field = fields.full_name("call_id");
    return fail_param(field, "\"{}\": no function_call before this output has the id {}", field,
                      to_json_text(json::value(id)));
  }
  TETRAD_ASSIGN(const std::string text, text_content(fields, "output", "\n"));
  flush();
  messages_.push_back(json::object{{"role", "tool"}, {"tool_call_id", id}, {"content", text}});
  return {};
}

Result<void> ItemFold::add(const json::object& item, const std::string& where) {
  FieldReader fields(item, where + ".");
  TETRAD_ASSIGN(const std::optional<std::string> stated, fields.string("type"));
  const std::string type = stated.value_or("message");
  if (type == "message") return add_message(fields);
  if (type == "reasoning") return add_reasoning(fields);
  if (type == "function_call") return add_call(fields);
  if (type == "function_call_output") return add_output(fields);
  return unsupported_field(
      where + ".type",
      fmt::format("\"{}.type\": items of type {} are not supported: this server knows message, "
                  "reasoning, function_call and function_call_output",
                  where, to_json_text(json::value(type))));
}

Result<void> read_responses_tool(const json::value& tool, size_t index, ToolCollector& tools) {
  const std::string where = fmt::format("tools[{}]", index);
  if (!tool.is_object()) return wrong_kind(where, "an object", tool);
  FieldReader fields(tool.get_object(), where + ".");
  TETRAD_ASSIGN(const std::string type, fields.required_string("type"));
  if (type != "function") {
    return unsupported_field(
        where + ".type", fmt::format("\"{}.type\": tools of type {} are not supported: this server "
                                     "runs none itself, only \"function\" is there",
                                     where, to_json_text(json::value(type))));
  }
  ToolCollector::Tool read{.where = where, .schema_name = "parameters", .function = {}, .name = {}};
  TETRAD_ASSIGN(read.name, fields.string("name"));
  TETRAD_ASSIGN(const std::optional<std::string> description, fields.string("description"));
  TETRAD_ASSIGN(read.parameters, fields.object("parameters"));
  TETRAD_ASSIGN(const std::optional<bool> strict, fields.boolean("strict"));
  read.strict = strict.value_or(false);
  read.function["name"] = read.name.value_or("");
  if (description) read.function["description"] = *description;
  if (read.parameters != nullptr) read.function["parameters"] = *read.parameters;
  return tools.add(std::move(read));
}

Result<ToolChoice> read_responses_choice(FieldReader& fields) {
  const json::value* choice = fields.find("tool_choice");
  if (choice == nullptr) return ToolChoice();
  if (const auto word = tool_choice_of_word(*choice)) return *word;
  if (!choice->is_object()) {
    return fail_param("tool_choice",
                      "\"tool_choice\" must be \"auto\", \"none\", \"required\" or an object that "
                      "names a function");
  }
  FieldReader members(choice->get_object(), "tool_choice.");
  TETRAD_ASSIGN(const std::string type, members.required_string("type"));
  if (type != "function") {
    return unsupported_field(
        "tool_choice.type", fmt::format("\"tool_choice.type\": {} is not supported by this server; "
                                        "use \"function\"",
                                        to_json_text(json::value(type))));
  }
  TETRAD_ASSIGN(std::string name, members.required_string("name"));
  return ToolChoice{ToolChoice::Mode::named, std::move(name)};
}

}  // namespace

Result<json::array> read_responses_input(FieldReader& fields) {
  json::array messages;
  TETRAD_ASSIGN(const std::optional<std::string> instructions, fields.string("instructions"));
  if (instructions && !instructions->empty()) {
    messages.push_back(json::object{{"role", "system"}, {"content", *instructions}});
  }
  const json::value* input = fields.find("input");
  if (input == nullptr) return missing("input");
  if (input->is_string()) {
    messages.push_back(json::object{{"role", "user"}, {"content", *input}});
    return messages;
  }
  if (!input->is_array()) return wrong_kind("input", "a string or an array of items", *input);
  const json::array& items = input->get_array();
  TETRAD_TRY(check_messages(&items, "input"));
  ItemFold fold(std::move(messages));
  for (size_t i = 0; i < items.size(); ++i)
    TETRAD_TRY(fold.add(items[i].get_object(), fmt::format("input[{}]", i)));
  json::array folded = std::move(fold).finish();
  if (folded.empty()) return fail_param("input", "\"input\" has nothing to answer");
  return folded;
}

Result<RequestTools> read_responses_tools(FieldReader& fields) {
  TETRAD_ASSIGN(ToolChoice choice, read_responses_choice(fields));
  return read_openai_tools(fields, std::move(choice), read_responses_tool);
}

}  // namespace tetrad::api
