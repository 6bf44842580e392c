#include "chat/control_tokens.h"

#include <algorithm>

namespace tetrad {
namespace {

// Noncharacters: no text has a use for them. The mark begins with a run of the first one that is
// longer than any run in the text, so that even a text that does use them cannot imitate it.
constexpr std::string_view kRun = "\uFDD0";
constexpr std::string_view kOpenEnd = "\uFDD1";
constexpr std::string_view kCloseEnd = "\uFDD2";
constexpr std::string_view kEscapedRun = "\\ufdd0";
constexpr std::string_view kEscapedOpenEnd = "\\ufdd1";
constexpr std::string_view kEscapedCloseEnd = "\\ufdd2";

constexpr std::string_view kSpace = " \t\n\v\f\r";

std::string repeat(std::string_view text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i)
    out += text;
  return out;
}

size_t longest_run(std::string_view text, std::string_view unit) {
  size_t longest = 0;
  for (size_t found = text.find(unit); found != std::string_view::npos;) {
    size_t run = 0;
    while (text.substr(found).starts_with(unit)) {
      found += unit.size();
      ++run;
    }
    longest = std::max(longest, run);
    found = text.find(unit, found);
  }
  return longest;
}

size_t longest_run(const json::value& value) {
  if (const json::string* text = value.if_string()) {
    return std::max(longest_run(*text, kRun), longest_run(*text, kEscapedRun));
  }
  size_t longest = 0;
  if (const json::array* array = value.if_array()) {
    for (const json::value& item : *array)
      longest = std::max(longest, longest_run(item));
  }
  if (const json::object* object = value.if_object()) {
    for (const auto& [key, item] : *object) {
      longest = std::max({longest, longest_run(key, kRun), longest_run(item)});
    }
  }
  return longest;
}

/// Length of the longest end of `text` that is a beginning of `token`, but not all of it.
size_t overlap(std::string_view text, std::string_view token) {
  size_t length = std::min(text.size(), token.size() - 1);
  while (length > 0 && text.substr(text.size() - length) != token.substr(0, length))
    --length;
  return length;
}

void add_segment(std::vector<PromptSegment>& segments, std::string_view text, bool parses) {
  if (!text.empty()) segments.push_back({std::string(text), parses});
}

}  // namespace

std::vector<std::string> special_token_texts(const Tokenizer& tokenizer) {
  std::vector<std::string> texts;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.is_special(id) && !tokenizer.token_bytes(id).empty()) {
      texts.emplace_back(tokenizer.token_bytes(id));
    }
  }
  return texts;
}

ControlTokenMarks::ControlTokenMarks(std::vector<std::string> tokens, std::string_view plain_text,
                                     const json::value& client_values)
    : tokens_(std::move(tokens)) {
  const size_t run =
      1 + std::max({longest_run(plain_text, kRun), longest_run(plain_text, kEscapedRun),
                    longest_run(client_values)});
  open_ = repeat(kRun, run) + std::string(kOpenEnd);
  close_ = repeat(kRun, run) + std::string(kCloseEnd);
  escaped_open_ = repeat(kEscapedRun, run) + std::string(kEscapedOpenEnd);
  escaped_close_ = repeat(kEscapedRun, run) + std::string(kEscapedCloseEnd);
}

/// Where special tokens are spelled, overlapping ones included.
std::vector<ControlTokenMarks::Range> ControlTokenMarks::token_occurrences(
    std::string_view text) const {
  std::vector<Range> ranges;
  for (const std::string& token : tokens_) {
    for (size_t found = text.find(token); found != std::string_view::npos;
         found = text.find(token, found + 1)) {
      ranges.push_back({found, found + token.size()});
    }
  }
  return ranges;
}

/// The stretches to mark, in order, joined where they overlap.
std::vector<ControlTokenMarks::Range> ControlTokenMarks::ranges_of(std::string_view text,
                                                                   Which which) const {
  std::vector<Range> ranges = token_occurrences(text);
  if (which == Which::whole_and_part && !text.empty()) {
    // Templates often strip white space, so that what stands before it may become the end.
    const size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
    const std::string_view stripped = text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
    for (const std::string& token : tokens_) {
      const size_t at_end = overlap(stripped, token);
      if (at_end > 0) ranges.push_back({begin + stripped.size() - at_end, begin + stripped.size()});
      const size_t at_start = overlap(token, stripped.empty() ? " " : stripped);
      if (at_start > 0) ranges.push_back({begin, begin + at_start});
    }
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  std::vector<Range> joined;
  for (const Range& range : ranges) {
    if (!joined.empty() && range.begin < joined.back().end) {
      joined.back().end = std::max(joined.back().end, range.end);
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

std::string ControlTokenMarks::mark_text(std::string_view text, Which which) const {
  std::string marked;
  size_t position = 0;
  for (const Range& range : ranges_of(text, which)) {
    marked += text.substr(position, range.begin - position);
    marked += open_;
    marked += text.substr(range.begin, range.end - range.begin);
    marked += close_;
    position = range.end;
  }
  return marked.append(text.substr(position));
}

json::value ControlTokenMarks::mark(const json::value& value, Which which) const {
  if (const json::string* text = value.if_string()) return json::value(mark_text(*text, which));
  if (const json::array* array = value.if_array()) {
    json::array marked;
    marked.reserve(array->size());
    for (const json::value& item : *array)
      marked.push_back(mark(item, which));
    return marked;
  }
  if (const json::object* object = value.if_object()) {
    json::object marked;
    marked.reserve(object->size());
    for (const auto& [key, item] : *object) {
      // A marked key is a new key, which no template looks up: only complete spellings are worth
      // it.
      marked[mark_text(key, Which::whole)] = mark(item, which);
    }
    return marked;
  }
  return value;
}

bool ControlTokenMarks::has_marks(const json::value& value, Which which) const {
  if (const json::string* text = value.if_string()) return !ranges_of(*text, which).empty();
  if (const json::array* array = value.if_array()) {
    return std::any_of(array->begin(), array->end(),
                       [&](const json::value& item) { return has_marks(item, which); });
  }
  if (const json::object* object = value.if_object()) {
    return std::any_of(object->begin(), object->end(), [&](const auto& member) {
      return !ranges_of(member.key(), Which::whole).empty() || has_marks(member.value(), which);
    });
  }
  return false;
}

std::optional<std::vector<PromptSegment>> ControlTokenMarks::segments(
    std::string_view marked_text, std::string_view plain_text) const {
  std::string text;
  std::vector<Range> marked;
  bool is_open = false;
  for (size_t position = 0; position < marked_text.size();) {
    const std::string_view rest = marked_text.substr(position);
    const bool may_be_mark = rest[0] == kRun[0] || rest[0] == kEscapedRun[0];
    const bool escaped_opens = may_be_mark && rest.starts_with(escaped_open_);
    const bool escaped_closes = may_be_mark && rest.starts_with(escaped_close_);
    if (escaped_opens || (may_be_mark && rest.starts_with(open_))) {
      if (std::exchange(is_open, true)) return std::nullopt;
      marked.push_back({text.size(), text.size()});
      position += escaped_opens ? escaped_open_.size() : open_.size();
    } else if (escaped_closes || (may_be_mark && rest.starts_with(close_))) {
      if (!std::exchange(is_open, false)) return std::nullopt;
      marked.back().end = text.size();
      position += escaped_closes ? escaped_close_.size() : close_.size();
    } else {
      text += rest[0];
      ++position;
    }
  }
  if (is_open || text != plain_text) return std::nullopt;

  // A mark matters where the text around it really spells a token.
  const std::vector<Range> tokens = token_occurrences(text);
  std::vector<PromptSegment> segments;
  size_t position = 0;
  for (const Range& range : marked) {
    const bool spells_token = std::any_of(tokens.begin(), tokens.end(), [&](const Range& token) {
      return token.begin < range.end && range.begin < token.end;
    });
    if (!spells_token) continue;
    add_segment(segments, plain_text.substr(position, range.begin - position), true);
    add_segment(segments, plain_text.substr(range.begin, range.end - range.begin), false);
    position = range.end;
  }
  add_segment(segments, plain_text.substr(position), true);
  return segments;
}

}  // namespace tetrad
