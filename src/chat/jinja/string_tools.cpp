#include "chat/jinja/string_tools.h"

#include <algorithm>

#include "chat/jinja/unicode.h"

namespace tetrad::jinja {
namespace {

/// Where the last character of the text starts.
size_t last_character(std::string_view text) {
  size_t start = text.size() - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0U) == 0x80U)
    --start;
  return start;
}

bool is_line_break(char32_t c) {
  return (c >= 0xA && c <= 0xD) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

bool is_in(std::string_view character, std::optional<std::string_view> set) {
  size_t position = 0;
  if (!set) return is_space(decode_code_point(character, position));
  return set->find(character) != std::string_view::npos;
}

std::vector<std::string_view> split_space_from_left(std::string_view text, size_t max_splits) {
  std::vector<std::string_view> parts;
  for (;;) {
    text = strip(text, std::nullopt, Side::left);
    if (text.empty()) return parts;
    if (parts.size() == max_splits) break;
    size_t end = 0;
    for (size_t position = 0; position < text.size(); end = position) {
      if (is_space(decode_code_point(text, position))) break;
    }
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  parts.push_back(text);
  return parts;
}

std::vector<std::string_view> split_space_from_right(std::string_view text, size_t max_splits) {
  std::vector<std::string_view> parts;
  for (;;) {
    text = strip(text, std::nullopt, Side::right);
    if (text.empty() || parts.size() == max_splits) break;
    size_t start = text.size();
    while (start > 0) {
      const size_t character = last_character(text.substr(0, start));
      if (is_in(text.substr(character, start - character), std::nullopt)) break;
      start = character;
    }
    parts.push_back(text.substr(start));
    text = text.substr(0, start);
  }
  if (!text.empty()) parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace

std::string_view strip(std::string_view text, std::optional<std::string_view> set, Side side) {
  while (side != Side::right && !text.empty()) {
    size_t end = 0;
    decode_code_point(text, end);
    if (!is_in(text.substr(0, end), set)) break;
    text.remove_prefix(end);
  }
  while (side != Side::left && !text.empty()) {
    const size_t start = last_character(text);
    if (!is_in(text.substr(start), set)) break;
    text.remove_suffix(text.size() - start);
  }
  return text;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t line_start = 0;
  for (size_t position = 0; position < text.size();) {
    const size_t end = position;
    const char32_t c = decode_code_point(text, position);
    if (!is_line_break(c)) continue;
    if (c == U'\r' && position < text.size() && text[position] == '\n') ++position;
    lines.push_back(text.substr(line_start, (keep_ends ? position : end) - line_start));
    line_start = position;
  }
  if (line_start < text.size()) lines.push_back(text.substr(line_start));
  return lines;
}

std::vector<std::string_view> split_space(std::string_view text, size_t max_splits, Side from) {
  return from == Side::right ? split_space_from_right(text, max_splits)
                             : split_space_from_left(text, max_splits);
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator,
                                       size_t max_splits, Side from) {
  std::vector<std::string_view> parts;
  while (parts.size() < max_splits) {
    const size_t found = from == Side::right ? text.rfind(separator) : text.find(separator);
    if (found == std::string_view::npos) break;
    const std::string_view before = text.substr(0, found);
    const std::string_view after = text.substr(found + separator.size());
    parts.push_back(from == Side::right ? after : before);
    text = from == Side::right ? before : after;
  }
  parts.push_back(text);
  if (from == Side::right) std::reverse(parts.begin(), parts.end());
  return parts;
}

size_t count_occurrences(std::string_view text, std::string_view part, size_t at_most) {
  if (part.empty()) {
    return std::min(at_most, static_cast<size_t>(count_code_points(text)) + 1);
  }
  size_t count = 0;
  for (size_t found = text.find(part); found != std::string_view::npos && count < at_most;
       found = text.find(part, found + part.size())) {
    ++count;
  }
  return count;
}

Result<std::string> replace_all(std::string_view text, std::string_view old_text,
                                std::string_view new_text, size_t count, Budget& budget) {
  TETRAD_TRY(budget.spend_bytes(text.size()));
  const size_t occurrences = count_occurrences(text, old_text, count);
  const size_t limit = budget.max_string_bytes();
  const size_t added = new_text.empty() || occurrences <= limit / new_text.size()
                           ? occurrences * new_text.size()
                           : limit + 1;
  TETRAD_TRY(budget.spend_bytes(text.size() - occurrences * old_text.size() + added));
  std::string out;
  size_t position = 0;
  for (size_t done = 0; done < occurrences; ++done) {
    const size_t found = old_text.empty() ? position : text.find(old_text, position);
    out.append(text.substr(position, found - position)).append(new_text);
    position = found + old_text.size();
    if (old_text.empty() && position < text.size()) {
      decode_code_point(text, position);
      out.append(text.substr(found, position - found));
    }
  }
  out.append(text.substr(std::min(position, text.size())));
  return out;
}

Result<std::string> repeated(std::string_view unit, int64_t count, Budget& budget) {
  if (count <= 0 || unit.empty()) return std::string();
  const size_t limit = budget.max_string_bytes();
  const auto copies = static_cast<size_t>(count);
  TETRAD_TRY(budget.spend_bytes(copies > limit / unit.size() ? limit + 1 : copies * unit.size()));
  std::string out;
  out.reserve(copies * unit.size());
  for (size_t i = 0; i < copies; ++i)
    out += unit;
  return out;
}

}  // namespace tetrad::jinja
