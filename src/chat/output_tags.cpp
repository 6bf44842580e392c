#include "chat/output_tags.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/trimmed.h"

namespace tetrad {
namespace {

struct TagSpelling {
  OutputTag tag;
  std::string_view text;
  bool named;  // an attribute `name` follows
};

constexpr std::array kTagSpellings = {
    TagSpelling{OutputTag::think_open, "<think>", false},
    TagSpelling{OutputTag::think_close, "</think>", false},
    TagSpelling{OutputTag::block_open, "<minimax:tool_call>", false},
    TagSpelling{OutputTag::block_close, "</minimax:tool_call>", false},
    TagSpelling{OutputTag::invoke_open, "<invoke", true},
    TagSpelling{OutputTag::invoke_close, "</invoke>", false},
    TagSpelling{OutputTag::parameter_open, "<parameter", true},
    TagSpelling{OutputTag::parameter_close, "</parameter>", false},
};

constexpr std::string_view kAttribute = "name";

bool is_tag_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

constexpr std::string_view kBlanksAroundNames = " \t\r";

/// `"f"`, `'f'` or `f`.
std::string_view unquoted(std::string_view text) {
  text = trimmed(text, kBlanksAroundNames);
  if (text.empty() || (text.front() != '"' && text.front() != '\'')) return text;
  const size_t end = text.find(text.front(), 1);
  return end == std::string_view::npos ? text
                                       : trimmed(text.substr(1, end - 1), kBlanksAroundNames);
}

}  // namespace

/// One more character of a tag that has no name, or before its name.
OutputTagReader::Step OutputTagReader::step_literal(char c, OutputTags tags) {
  Step best = Step::no_tag;
  for (const TagSpelling& spelling : kTagSpellings) {
    if (!tags.contains(spelling.tag)) continue;
    if (spelling.named && held_ == spelling.text && is_tag_blank(c)) {
      tag_ = spelling.tag;
      part_ = Part::blank;
      return Step::goes_on;
    }
    const size_t length = held_.size();
    if (length >= spelling.text.size() || spelling.text[length] != c ||
        !spelling.text.starts_with(held_))
      continue;
    if (!spelling.named && length + 1 == spelling.text.size()) {
      tag_ = spelling.tag;
      return Step::complete;
    }
    best = Step::goes_on;
  }
  return best;
}

/// One more character of a tag with a name, behind `<invoke` or `<parameter`.
OutputTagReader::Step OutputTagReader::step_name(char c) {
  switch (part_) {
    case Part::blank:
      if (is_tag_blank(c)) return Step::goes_on;
      part_ = Part::attribute;
      attribute_at_ = held_.size();
      [[fallthrough]];
    case Part::attribute: {
      const size_t length = held_.size() - attribute_at_;
      if (length < kAttribute.size()) return c == kAttribute[length] ? Step::goes_on : Step::no_tag;
      part_ = Part::equals;
      [[fallthrough]];
    }
    case Part::equals:
      if (is_tag_blank(c)) return Step::goes_on;
      if (c != '=') return Step::no_tag;
      part_ = Part::name;
      name_at_ = held_.size() + 1;
      return Step::goes_on;
    default:
      if (c == '<' || c == '\n') return Step::no_tag;
      return c == '>' ? Step::complete : Step::goes_on;
  }
}

OutputTagReader::Step OutputTagReader::step(char c, OutputTags tags) {
  if (held_.empty()) {
    part_ = Part::literal;
    return Step::goes_on;
  }
  if (held_.size() >= kMaxTagBytes) return Step::no_tag;
  return part_ == Part::literal ? step_literal(c, tags) : step_name(c);
}

OutputTagReader::Found OutputTagReader::next(std::string_view& rest, OutputTags tags) {
  if (held_.empty()) {
    const size_t begin = std::min(rest.find('<'), rest.size());
    if (begin > 0) {
      text_ = rest.substr(0, begin);
      rest.remove_prefix(begin);
      return Found::text;
    }
  }
  for (size_t i = 0; i < rest.size(); ++i) {
    const Step taken = step(rest[i], tags);
    if (taken != Step::no_tag) held_ += rest[i];
    if (taken == Step::goes_on) continue;
    done_ = std::exchange(held_, std::string());
    text_ = done_;
    rest.remove_prefix(taken == Step::complete ? i + 1 : i);
    if (taken == Step::no_tag) return Found::text;
    name_ = part_ == Part::name ? unquoted(text_.substr(name_at_, text_.size() - name_at_ - 1))
                                : std::string_view();
    return Found::tag;
  }
  rest = {};
  return Found::nothing;
}

}  // namespace tetrad
