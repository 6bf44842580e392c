#include "chat/reasoning.h"

#include <algorithm>
#include <array>
#include <span>

namespace tetrad {
namespace {

constexpr std::string_view kOpen = "<think>";
constexpr std::string_view kClose = "</think>";
constexpr std::string_view kToolCall = "<minimax:tool_call>";
constexpr std::array kReasoningTags = {kOpen, kClose, kToolCall};
constexpr std::array kContentTags = {kClose};

constexpr std::string_view kSpace = " \t\n\v\f\r";

/// The tags that mean something in a state.
std::span<const std::string_view> tags_of(bool in_reasoning) {
  if (in_reasoning) return kReasoningTags;
  return kContentTags;
}

/// Length of the longest suffix of `text` that is the beginning of a tag, but not all of it.
size_t unfinished_tag(std::string_view text, std::span<const std::string_view> tags) {
  size_t longest = 0;
  for (const std::string_view tag : tags) {
    size_t length = std::min(text.size(), tag.size() - 1);
    while (length > 0 && !text.ends_with(tag.substr(0, length)))
      --length;
    longest = std::max(longest, length);
  }
  return longest;
}

struct FoundTag {
  size_t position = std::string_view::npos;
  std::string_view tag;
};

FoundTag first_tag(std::string_view text, std::span<const std::string_view> tags) {
  FoundTag first;
  for (const std::string_view tag : tags) {
    if (const size_t position = text.find(tag); position < first.position) first = {position, tag};
  }
  return first;
}

}  // namespace

/// Swallows a tag, with what it means for the text after it.
void ReasoningSplitter::pass_tag(std::string_view tag, Delta& delta) {
  if (in_reasoning_ && tag != kOpen) {
    in_reasoning_ = false;
    skips_newlines_ = true;
    held_space_.clear();
  }
  // A call ends the reasoning without </think>, which models sometimes forget. It is content.
  if (tag == kToolCall) write(tag, delta);
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
    const auto [position, tag] = first_tag(rest, tags_of(in_reasoning_));
    if (tag.empty()) break;
    write(rest.substr(0, position), delta);
    pass_tag(tag, delta);
    rest.remove_prefix(position + tag.size());
  }
  const size_t held = unfinished_tag(rest, tags_of(in_reasoning_));
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
