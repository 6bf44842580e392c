#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "chat/conversation.h"

namespace tetrad {
namespace {

std::string path_of(size_t message) {
  return fmt::format("messages[{}]", message);
}

/// An error at a place in the request, which is named both in the text and as the parameter.
template <class... Args>
tl::unexpected<Error> fail_at(const std::string& where, fmt::format_string<Args...> format,
                              Args&&... args) {
  return fail_param(where, "{}: {}", where, fmt::format(format, std::forward<Args>(args)...));
}

/// A member that is there and not null.
json::value* present(json::object& object, std::string_view key) {
  json::value* member = object.if_contains(key);
  return member != nullptr && !member->is_null() ? member : nullptr;
}

Result<void> check_text_part(const json::value& part, bool is_tool_result,
                             const std::string& where) {
  if (part.is_string()) return {};
  const json::object* object = part.if_object();
  if (object == nullptr) {
    return fail_at(where, "a content part must be an object, not {}", json_kind_name(part));
  }
  // A tool result may hold its text as "output" (section 5.6).
  if (is_tool_result && object->contains("output")) return {};
  const json::value* type = object->if_contains("type");
  if (type == nullptr || !type->is_string()) {
    return fail_at(where + ".type", "a content part needs a \"type\" that is a string");
  }
  if (type->get_string() != "text") {
    return fail_at(where + ".type",
                   "content parts of type \"{}\" are not supported: this model takes text only",
                   std::string_view(type->get_string()));
  }
  const json::value* text = object->if_contains("text");
  if (text == nullptr || !text->is_string()) {
    return fail_at(where + ".text", "a text part needs a \"text\" that is a string");
  }
  return {};
}

/// Null and missing become "". A string stays a string and a list of parts a list: templates do
/// not render them alike.
Result<void> normalise_content(json::object& message, std::string_view role, size_t index) {
  json::value* content = present(message, "content");
  if (content == nullptr) {
    message["content"] = "";
    return {};
  }
  if (content->is_string()) return {};
  const std::string where = path_of(index) + ".content";
  if (!content->is_array()) {
    return fail_at(where, "the content of a message must be text or a list of text parts, not {}",
                   json_kind_name(*content));
  }
  const json::array& parts = content->get_array();
  for (size_t j = 0; j < parts.size(); ++j) {
    TETRAD_TRY(check_text_part(parts[j], role == "tool", fmt::format("{}[{}]", where, j)));
  }
  return {};
}

Result<std::string> joined_details(const json::value& details, const std::string& where) {
  if (!details.is_array()) {
    return fail_at(where, "must be a list, not {}", json_kind_name(details));
  }
  std::string text;
  for (const json::value& detail : details.get_array()) {
    const json::object* object = detail.if_object();
    const json::value* part = object != nullptr ? object->if_contains("text") : nullptr;
    if (part != nullptr && part->is_string()) text += std::string_view(part->get_string());
  }
  return text;
}

/// The three names that clients give to the thinking become `reasoning_content`.
Result<void> normalise_reasoning(json::object& message, size_t index) {
  std::optional<std::string> reasoning;
  for (const std::string_view key : {"reasoning_content", "reasoning", "reasoning_details"}) {
    json::value* member = present(message, key);
    if (member == nullptr || reasoning) continue;
    const std::string where = path_of(index) + "." + std::string(key);
    if (key == "reasoning_details") {
      TETRAD_ASSIGN(reasoning, joined_details(*member, where));
    } else if (member->is_string()) {
      reasoning = std::string(member->get_string());
    } else {
      return fail_at(where, "must be a string, not {}", json_kind_name(*member));
    }
  }
  for (const std::string_view key : {"reasoning_content", "reasoning", "reasoning_details"}) {
    message.erase(key);
  }
  if (reasoning) message["reasoning_content"] = *reasoning;
  return {};
}

/// Clients send the arguments as JSON text; templates take a mapping.
Result<json::object> parse_arguments(const json::value* arguments, const std::string& where) {
  if (arguments == nullptr || arguments->is_null()) return json::object();
  if (const json::object* object = arguments->if_object()) return *object;
  if (!arguments->is_string()) {
    return fail_at(where, "the arguments of a call must be a JSON object, not {}",
                   json_kind_name(*arguments));
  }
  const std::string_view text = arguments->get_string();
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return json::object();
  auto parsed = parse_json(text);
  if (!parsed) {
    return fail_at(where, "the arguments of a call are {}", parsed.error().message);
  }
  if (parsed->is_null()) return json::object();
  if (!parsed->is_object()) {
    return fail_at(where, "the arguments of a call must be a JSON object, not {}",
                   json_kind_name(*parsed));
  }
  return std::move(parsed->get_object());
}

/// A call is nested, {"function": {"name", "arguments"}}, or flat, {"name", "arguments"}.
Result<void> normalise_tool_call(json::value& call, const std::string& where) {
  if (!call.is_object()) {
    return fail_at(where, "a tool call must be an object, not {}", json_kind_name(call));
  }
  json::value* nested = present(call.get_object(), "function");
  if (nested != nullptr && !nested->is_object()) {
    return fail_at(where + ".function", "must be an object, not {}", json_kind_name(*nested));
  }
  json::object& function = nested != nullptr ? nested->get_object() : call.get_object();
  const std::string path = nested != nullptr ? where + ".function" : where;
  const json::value* name = present(function, "name");
  if (name == nullptr || !name->is_string() || name->get_string().empty()) {
    return fail_at(path + ".name", "a tool call needs the name of its function");
  }
  TETRAD_ASSIGN(json::object arguments,
                parse_arguments(function.if_contains("arguments"), path + ".arguments"));
  function["arguments"] = std::move(arguments);
  return {};
}

Result<void> normalise_tool_calls(json::object& message, size_t index) {
  if (present(message, "function_call") != nullptr) {
    return fail_at(path_of(index) + ".function_call",
                   "function_call is not supported, send tool_calls instead");
  }
  json::value* calls = present(message, "tool_calls");
  const std::string where = path_of(index) + ".tool_calls";
  if (calls != nullptr && !calls->is_array()) {
    return fail_at(where, "must be a list, not {}", json_kind_name(*calls));
  }
  if (calls == nullptr || calls->get_array().empty()) {
    message.erase("tool_calls");  // templates ask whether there are any in different ways
    return {};
  }
  json::array& list = calls->get_array();
  for (size_t j = 0; j < list.size(); ++j) {
    TETRAD_TRY(normalise_tool_call(list[j], fmt::format("{}[{}]", where, j)));
  }
  return {};
}

std::string content_text(const json::value& content) {
  if (content.is_string()) return std::string(content.get_string());
  std::string text;
  for (const json::value& part : content.get_array()) {
    const json::value* part_text = part.is_string() ? &part : part.get_object().if_contains("text");
    text += std::string_view(part_text->get_string());
  }
  return text;
}

/// Adds a further leading system message to the first one.
void merge_system(json::object& first, const json::object& next) {
  const std::string before = content_text(first.at("content"));
  const std::string after = content_text(next.at("content"));
  first["content"] = before.empty() || after.empty() ? before + after : before + "\n\n" + after;
  for (const auto& [key, value] : next) {
    if (!first.contains(key)) first[key] = value;
  }
}

/// The place of each call id in the assistant message before a run of tool results.
std::map<std::string, size_t, std::less<>> call_order(const json::object& assistant) {
  std::map<std::string, size_t, std::less<>> order;
  const json::value* calls = assistant.if_contains("tool_calls");
  if (calls == nullptr) return order;
  for (const json::value& call : calls->get_array()) {
    const json::value* id = call.get_object().if_contains("id");
    if (id != nullptr && id->is_string()) {
      order.emplace(std::string(id->get_string()), order.size());
    }
  }
  return order;
}

/// Sorts the tool results [begin, end) into the order of the calls they answer. The prompt has no
/// ids, so that the order is all the model sees. Results without an id keep their places.
Result<void> sort_results(json::array& messages, size_t begin, size_t end,
                          const json::object& assistant, size_t first_index) {
  const auto order = call_order(assistant);
  std::vector<std::pair<size_t, size_t>> ranked;  // rank, position: sorts stably
  std::vector<size_t> places;
  for (size_t i = begin; i < end; ++i) {
    const json::value* id = messages[i].get_object().if_contains("tool_call_id");
    if (id == nullptr || !id->is_string() || order.empty()) continue;
    const auto rank = order.find(std::string_view(id->get_string()));
    if (rank == order.end()) {
      return fail_at(path_of(first_index + i) + ".tool_call_id",
                     "no tool call before this result has the id \"{}\"",
                     std::string_view(id->get_string()));
    }
    ranked.emplace_back(rank->second, i);
    places.push_back(i);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<json::value> sorted;
  sorted.reserve(ranked.size());
  for (const auto& [rank, position] : ranked)
    sorted.push_back(messages[position]);
  for (size_t k = 0; k < places.size(); ++k)
    messages[places[k]] = std::move(sorted[k]);
  return {};
}

/// `first_index`: how many messages of the request are not in `messages` because they were merged.
Result<void> sort_all_results(json::array& messages, size_t first_index) {
  const json::object* assistant = nullptr;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string_view role = messages[i].get_object().at("role").get_string();
    if (role == "assistant") assistant = &messages[i].get_object();
    if (role != "tool") continue;
    size_t end = i;
    while (end < messages.size() && messages[end].get_object().at("role").get_string() == "tool") {
      ++end;
    }
    if (assistant != nullptr) TETRAD_TRY(sort_results(messages, i, end, *assistant, first_index));
    i = end - 1;
  }
  return {};
}

Result<std::string> role_of(const json::object& message, size_t index) {
  constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant",
                                                      "tool"};
  const std::string where = path_of(index) + ".role";
  const json::value* role = message.if_contains("role");
  if (role == nullptr || !role->is_string()) {
    return fail_at(where, "a message needs a \"role\" that is a string");
  }
  std::string name(role->get_string());
  if (std::find(kRoles.begin(), kRoles.end(), name) == kRoles.end()) {
    return fail_at(where, "the role \"{}\" is not known: use {}", name, fmt::join(kRoles, ", "));
  }
  return name;
}

}  // namespace

Result<json::array> normalise_messages(const json::array& messages) {
  json::array result;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!messages[i].is_object()) {
      return fail_at(path_of(i), "a message must be an object, not {}",
                     json_kind_name(messages[i]));
    }
    json::object message = messages[i].get_object();
    TETRAD_ASSIGN(const std::string role, role_of(message, i));
    TETRAD_TRY(normalise_content(message, role, i));
    if (role == "assistant") {
      TETRAD_TRY(normalise_reasoning(message, i));
      TETRAD_TRY(normalise_tool_calls(message, i));
    }
    if (role != "system" && role != "developer") {
      result.push_back(std::move(message));
      continue;
    }
    message["role"] = "system";
    if (i == 0) {
      result.push_back(std::move(message));
    } else if (result.size() == 1 && result[0].get_object().at("role") == "system") {
      merge_system(result[0].get_object(), message);
    } else {
      return fail_at(path_of(i) + ".role",
                     "a {} message is only possible at the start of the conversation", role);
    }
  }
  TETRAD_TRY(sort_all_results(result, messages.size() - result.size()));
  return result;
}

}  // namespace tetrad
