#include "api/continued_message.h"

#include <algorithm>

namespace tetrad::api {
namespace {

/// The text of a message: a string, or text parts as the template puts them together.
std::string text_of_message(const json::object& message) {
  const json::value* content = message.if_contains("content");
  if (content == nullptr) return "";
  if (content->is_string()) return std::string(content->get_string());
  std::string text;
  if (!content->is_array()) return text;
  for (const json::value& part : content->get_array()) {
    const json::object* object = part.if_object();
    const json::value* part_text = object != nullptr ? object->if_contains("text") : &part;
    if (part_text != nullptr && part_text->is_string()) text += part_text->get_string();
  }
  return text;
}

/// The same conversation with one more character at its end, another one than the text's last:
/// what follows the text in a prompt is what both prompts have in common at their ends.
ChatInput with_longer_end(const ChatInput& input, std::string_view text) {
  const std::string_view more = text.ends_with('.') ? "," : ".";
  ChatInput longer = input;
  json::value& content = longer.messages.back().get_object()["content"];
  if (content.is_string()) {
    content = std::string(text) + std::string(more);
  } else {
    content.get_array().push_back(json::object{{"type", "text"}, {"text", more}});
  }
  return longer;
}

size_t common_suffix(std::string_view a, std::string_view b) {
  const auto difference = std::mismatch(a.rbegin(), a.rend(), b.rbegin(), b.rend());
  return static_cast<size_t>(difference.first - a.rbegin());
}

void cut_segments(std::vector<PromptSegment>& segments, size_t size) {
  size_t begin = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    const size_t end = begin + segments[i].text.size();
    if (end >= size) {
      segments[i].text.resize(size - begin);
      segments.resize(i + 1);
      return;
    }
    begin = end;
  }
}

/// The text ends inside a think block that it opened.
bool leaves_think_block_open(std::string_view text) {
  const size_t open = text.rfind("<think>");
  const size_t close = text.rfind("</think>");
  return open != std::string_view::npos && (close == std::string_view::npos || close < open);
}

}  // namespace

Result<void> end_in_last_message(ChatPrompt& prompt, const ChatTemplate& chat_template,
                                 const Tokenizer& tokenizer, const ChatInput& input) {
  const std::string where = fmt::format("messages[{}].content", input.messages.size() - 1);
  const std::string text = text_of_message(input.messages.back().get_object());
  if (text.empty()) {
    return fail_param(where, "\"{}\" has no text that an answer could go on with", where);
  }
  TETRAD_ASSIGN(const ChatPrompt longer,
                render_chat(chat_template, tokenizer, with_longer_end(input, text)));
  const size_t end = prompt.text.size() - common_suffix(prompt.text, longer.text);
  if (!std::string_view(prompt.text).substr(0, end).ends_with(text)) {
    return fail_param(where,
                      "\"{}\" can't be continued: the chat template does not show it as it is; "
                      "send thinking as \"reasoning_content\"",
                      where);
  }
  prompt.text.resize(end);
  cut_segments(prompt.segments, end);
  prompt.starts_in_reasoning = leaves_think_block_open(text);
  return {};
}

}  // namespace tetrad::api
