// Messages as clients send them, in the form that chat templates expect.

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "chat/conversation.h"

namespace tetrad {
namespace {

/// "messages[3].content"
std::string place(size_t index, std::string_view field) {
  return fmt::format("messages[{}].{}", index, field);
}

Result<void> check_part(const json::value& part, const std::string& where) {
  if (part.is_string()) return {};
  const json::object* object = part.if_object();
  const json::value* type = object != nullptr ? object->if_contains("type") : nullptr;
  if (type == nullptr || !type->is_string()) {
    return fail_param(where, "{} must be a string or an object with a \"type\"", where);
  }
  if (type->get_string() != "text") {
    return fail_param(where, "{} has the type \"{}\": this model reads text only", where,
                      std::string_view(type->get_string()));
  }
  const json::value* text = object->if_contains("text");
  if (text == nullptr || !text->is_string()) {
    return fail_param(where, "{}.text must be a string", where);
  }
  return {};
}

/// Strings stay strings and lists lists: templates may render them differently.
Result<json::value> normalise_content(const json::object& message, size_t index) {
  const json::value* content = message.if_contains("content");
  if (content == nullptr || content->is_null()) return json::value("");
  const std::string where = place(index, "content");
  if (content->is_string()) return *content;
  if (!content->is_array()) {
    return fail_param(where, "{} must be a string or a list of parts, not {}", where,
                      json_kind_name(*content));
  }
  size_t number = 0;
  for (const json::value& part : content->get_array()) {
    TETRAD_TRY(check_part(part, fmt::format("{}[{}]", where, number++)));
  }
  return *content;
}

/// The one reasoning text of a message, under whichever name it came.
Result<std::optional<std::string>> find_reasoning(const json::object& message, size_t index) {
  for (const char* name : {"reasoning_content", "reasoning"}) {
    const json::value* value = message.if_contains(name);
    if (value == nullptr || value->is_null()) continue;
    if (!value->is_string()) {
      return fail_param(place(index, name), "{} must be a string", place(index, name));
    }
    return std::string(value->get_string());
  }
  const json::value* details = message.if_contains("reasoning_details");
  if (details == nullptr || !details->is_array()) return std::nullopt;
  std::string text;
  for (const json::value& detail : details->get_array()) {
    const json::object* object = detail.if_object();
    const json::value* part = object != nullptr ? object->if_contains("text") : nullptr;
    if (part != nullptr && part->is_string()) text += part->get_string();
  }
  return text;
}

/// Clients send arguments as JSON text; the template wants the mapping.
Result<void> normalise_arguments(json::object& function, const std::string& where) {
  json::value& arguments = function["arguments"];
  if (arguments.is_null()) arguments = json::object();
  if (arguments.is_string()) {
    const std::string text(arguments.get_string());
    if (text.empty() || text == "null") {
      arguments = json::object();
    } else {
      auto parsed = parse_json(text);
      if (!parsed) {
        return fail_param(where, "{}.arguments is {}", where, parsed.error().message);
      }
      arguments = std::move(*parsed);
    }
  }
  if (!arguments.is_object()) {
    return fail_param(where, "{}.arguments must be a JSON object, not {}", where,
                      json_kind_name(arguments));
  }
  return {};
}

Result<void> normalise_tool_calls(json::object& message, size_t index) {
  json::value* calls = message.if_contains("tool_calls");
  if (calls == nullptr) return {};
  if (calls->is_null()) {
    message.erase("tool_calls");
    return {};
  }
  if (!calls->is_array()) {
    return fail_param(place(index, "tool_calls"), "{} must be a list", place(index, "tool_calls"));
  }
  size_t number = 0;
  for (json::value& call : calls->get_array()) {
    const std::string where = fmt::format("{}[{}]", place(index, "tool_calls"), number++);
    if (!call.is_object()) return fail_param(where, "{} must be an object", where);
    json::value* nested = call.get_object().if_contains("function");
    if (nested != nullptr && !nested->is_object()) {
      return fail_param(where, "{}.function must be an object", where);
    }
    json::object& function = nested != nullptr ? nested->get_object() : call.get_object();
    const json::value* name = function.if_contains("name");
    if (name == nullptr || !name->is_string() || name->get_string().empty()) {
      return fail_param(where, "{} needs the name of its function", where);
    }
    TETRAD_TRY(normalise_arguments(function, where));
  }
  return {};
}

/// Joins the text of a later leading system message to the first, behind a blank line.
void join_system(json::object& first, const json::value& content) {
  json::value& joined = first["content"];
  if (joined.is_string() && content.is_string()) {
    const std::string_view before = joined.get_string();
    const std::string_view between = before.empty() ? "" : "\n\n";
    joined = fmt::format("{}{}{}", before, between, std::string_view(content.get_string()));
    return;
  }
  json::array parts;
  const auto append = [&parts](const json::value& value) {
    if (const json::array* list = value.if_array()) {
      parts.insert(parts.end(), list->begin(), list->end());
    } else {
      parts.push_back({{"type", "text"}, {"text", value}});
    }
  };
  append(joined);
  parts.push_back({{"type", "text"}, {"text", "\n\n"}});
  append(content);
  joined = std::move(parts);
}

std::string_view id_of(const json::value& object, std::string_view key) {
  const json::value* id = object.is_object() ? object.get_object().if_contains(key) : nullptr;
  return id != nullptr && id->is_string() ? std::string_view(id->get_string()) : std::string_view();
}

/// Puts each run of tool messages into the order of the calls it answers: the prompt has no ids, so
/// order is the only link. Results without a known id keep their order behind the others.
void sort_tool_results(json::array& messages) {
  for (size_t begin = 0; begin < messages.size(); ++begin) {
    const json::value* calls = messages[begin].get_object().if_contains("tool_calls");
    if (calls == nullptr) continue;
    std::map<std::string_view, size_t> order;
    for (const json::value& call : calls->get_array()) {
      order.emplace(id_of(call, "id"), order.size());
    }
    size_t end = begin + 1;
    while (end < messages.size() && messages[end].at("role") == "tool")
      ++end;
    const auto rank = [&order](const json::value& message) {
      const auto found = order.find(id_of(message, "tool_call_id"));
      return found != order.end() ? found->second : order.size();
    };
    std::stable_sort(
        messages.begin() + static_cast<int64_t>(begin) + 1,
        messages.begin() + static_cast<int64_t>(end),
        [&rank](const json::value& a, const json::value& b) { return rank(a) < rank(b); });
  }
}

Result<json::object> normalise_message(const json::value& value, size_t index) {
  const json::object* source = value.if_object();
  if (source == nullptr) {
    const std::string where = fmt::format("messages[{}]", index);
    return fail_param(where, "{} must be an object, not {}", where, json_kind_name(value));
  }
  json::object message = *source;
  const json::value* role = message.if_contains("role");
  if (role == nullptr || !role->is_string()) {
    return fail_param(place(index, "role"), "{} must be a string", place(index, "role"));
  }
  if (role->get_string() == "developer") message["role"] = "system";
  const std::string_view name = message.at("role").get_string();
  if (name != "system" && name != "user" && name != "assistant" && name != "tool") {
    return fail_param(place(index, "role"),
                      "{} is \"{}\"; it must be system, developer, user, assistant or tool",
                      place(index, "role"), name);
  }
  TETRAD_ASSIGN(message["content"], normalise_content(*source, index));
  TETRAD_ASSIGN(const std::optional<std::string> reasoning, find_reasoning(*source, index));
  message.erase("reasoning");
  message.erase("reasoning_details");
  message.erase("reasoning_content");
  if (reasoning) message["reasoning_content"] = *reasoning;
  TETRAD_TRY(normalise_tool_calls(message, index));
  return message;
}

}  // namespace

Result<json::array> normalise_messages(const json::array& messages) {
  json::array result;
  for (size_t index = 0; index < messages.size(); ++index) {
    TETRAD_ASSIGN(json::object message, normalise_message(messages[index], index));
    if (message.at("role") == "system" && !result.empty()) {
      if (result.size() > 1 || result.front().at("role") != "system") {
        return fail_param(place(index, "role"),
                          "{}: a system message must stand before all others; put this one first "
                          "or send it as a user message",
                          place(index, "role"));
      }
      join_system(result.front().get_object(), message.at("content"));
      continue;
    }
    result.emplace_back(std::move(message));
  }
  sort_tool_results(result);
  return result;
}

}  // namespace tetrad
