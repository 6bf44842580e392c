#include "chat/control_tokens.h"

#include <algorithm>
#include <utility>

namespace tetrad {
namespace {

void append_segment(std::vector<PromptSegment>& segments, std::string_view text, bool parse) {
  if (text.empty()) return;
  segments.push_back({std::string(text), parse});
}

}  // namespace

Result<ControlTokenMarker> ControlTokenMarker::create(const Tokenizer& tokenizer,
                                                      const json::object& input) {
  ControlTokenMarker marker;
  for (int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (!tokenizer.is_special(static_cast<TokenId>(id))) continue;
    const std::string_view token = tokenizer.token_bytes(static_cast<TokenId>(id));
    // A mark needs a second byte to stand before.
    if (token.size() > 1) marker.tokens_.push_back(token);
  }
  std::ranges::sort(marker.tokens_, [](std::string_view a, std::string_view b) {
    return a.size() != b.size() ? a.size() > b.size() : a < b;
  });

  const std::string text = to_json_text(input);
  for (int last_byte = 0x90; last_byte <= 0xAF; ++last_byte) {
    marker.mark_ = {'\xEF', '\xB7', static_cast<char>(last_byte)};
    marker.escaped_mark_ = fmt::format("\\ufd{:02x}", last_byte + 0x40);
    if (text.find(marker.mark_) == std::string::npos &&
        text.find(marker.escaped_mark_) == std::string::npos) {
      return marker;
    }
  }
  return fail_param("messages",
                    "the messages contain all of the characters U+FDD0 to U+FDEF, which Unicode "
                    "reserves for internal use; remove them");
}

/// The longest control token that begins at `position`, or nothing.
std::string_view ControlTokenMarker::token_at(std::string_view text, size_t position) const {
  for (const std::string_view token : tokens_) {
    if (text.substr(position).starts_with(token)) return token;
  }
  return {};
}

std::string ControlTokenMarker::mark_text(std::string_view text) const {
  std::string marked;
  for (size_t position = 0; position < text.size();) {
    const std::string_view token = token_at(text, position);
    if (token.empty()) {
      marked += text[position++];
      continue;
    }
    marked += token.front();
    marked += mark_;
    marked += token.substr(1);
    position += token.size();
  }
  return marked;
}

json::value ControlTokenMarker::mark_value(const json::value& value) const {
  if (const json::string* text = value.if_string()) return json::value(mark_text(*text));
  if (const json::object* object = value.if_object()) return mark(*object);
  const json::array* items = value.if_array();
  if (items == nullptr) return value;
  json::array marked;
  for (const json::value& item : *items)
    marked.push_back(mark_value(item));
  return marked;
}

json::object ControlTokenMarker::mark(const json::object& input) const {
  json::object marked;
  for (const auto& [key, value] : input)
    marked[mark_text(key)] = mark_value(value);
  return marked;
}

std::vector<PromptSegment> ControlTokenMarker::split(std::string_view rendered) const {
  std::string text;
  std::vector<size_t> marks;  // positions in `text` where a mark stood
  for (size_t position = 0; position < rendered.size();) {
    const std::string_view rest = rendered.substr(position);
    if (rest.starts_with(mark_) || rest.starts_with(escaped_mark_)) {
      marks.push_back(text.size());
      position += rest.starts_with(mark_) ? mark_.size() : escaped_mark_.size();
    } else {
      text += rendered[position++];
    }
  }
  std::vector<PromptSegment> segments;
  const std::string_view whole = text;
  size_t done = 0;
  for (const size_t mark : marks) {
    const size_t begin = mark == 0 ? 0 : mark - 1;
    const std::string_view token = begin < done ? std::string_view() : token_at(whole, begin);
    // A template may have cut the token up; then the cut at the mark is enough.
    const size_t cut = token.empty() ? std::max(mark, done) : begin;
    append_segment(segments, whole.substr(done, cut - done), true);
    append_segment(segments, token, false);
    done = cut + token.size();
  }
  append_segment(segments, whole.substr(done), true);
  return segments;
}

}  // namespace tetrad
