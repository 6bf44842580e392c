#include "chat/reasoning.h"

#include <algorithm>

namespace tetrad {
namespace {

constexpr std::string_view kOpen = "<think>";
constexpr std::string_view kClose = "</think>";
constexpr std::string_view kSpace = " \t\n\v\f\r";

/// Length of the longest suffix of `text` that is the beginning of a tag, but not all of it.
size_t unfinished_tag(std::string_view text, bool in_reasoning) {
  const size_t longest = std::min(text.size(), kClose.size() - 1);
  for (size_t length = longest; length > 0; --length) {
    const std::string_view suffix = text.substr(text.size() - length);
    if (kClose.starts_with(suffix)) return length;
    if (in_reasoning && length < kOpen.size() && kOpen.starts_with(suffix)) return length;
  }
  return 0;
}

}  // namespace

void ReasoningSplitter::pass_tag(bool is_closing) {
  if (!is_closing || !in_reasoning_) return;
  in_reasoning_ = false;
  skips_newlines_ = true;
  held_space_.clear();
}

void ReasoningSplitter::write(std::string_view text, Delta& delta) {
  if (skips_newlines_) {
    text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
    if (text.empty()) return;
    skips_newlines_ = false;
  }
  if (!in_reasoning_) {
    delta.content += text;
    return;
  }
  const size_t last = text.find_last_not_of(kSpace);
  if (last != std::string_view::npos) {
    delta.reasoning += held_space_;
    delta.reasoning += text.substr(0, last + 1);
    held_space_.clear();
    text.remove_prefix(last + 1);
  }
  held_space_ += text;
}

ReasoningSplitter::Delta ReasoningSplitter::push(std::string_view text) {
  Delta delta;
  held_tag_ += text;
  std::string_view rest = held_tag_;
  for (;;) {
    const size_t close = rest.find(kClose);
    const size_t open = in_reasoning_ ? rest.find(kOpen) : std::string_view::npos;
    const size_t tag = std::min(close, open);
    if (tag == std::string_view::npos) break;
    write(rest.substr(0, tag), delta);
    pass_tag(tag == close);
    rest.remove_prefix(tag + (tag == close ? kClose.size() : kOpen.size()));
  }
  const size_t held = unfinished_tag(rest, in_reasoning_);
  write(rest.substr(0, rest.size() - held), delta);
  held_tag_ = std::string(rest.substr(rest.size() - held));
  return delta;
}

ReasoningSplitter::Delta ReasoningSplitter::finish() {
  Delta delta;
  write(held_tag_, delta);
  held_tag_.clear();
  held_space_.clear();
  return delta;
}

}  // namespace tetrad
