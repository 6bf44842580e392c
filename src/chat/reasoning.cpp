#include "chat/reasoning.h"

#include <algorithm>
#include <array>
#include <span>

namespace tetrad {
namespace {

constexpr std::string_view kOpen = "<think>";
constexpr std::string_view kClose = "</think>";
constexpr std::string_view kToolCall = "<minimax:tool_call>";
constexpr std::array kReasoningTags{kOpen, kClose, kToolCall};
constexpr std::array kContentTags{kClose};

/// The length of the longest suffix of `text` that is a proper prefix of one of the tags.
size_t possible_tag_length(std::string_view text, std::span<const std::string_view> tags) {
  size_t longest = 0;
  for (const std::string_view tag : tags) {
    for (size_t length = std::min(tag.size() - 1, text.size()); length > longest; --length) {
      if (text.ends_with(tag.substr(0, length))) longest = length;
    }
  }
  return longest;
}

}  // namespace

ReasoningSplitter::ReasoningSplitter(bool starts_in_reasoning)
    : in_reasoning_(starts_in_reasoning), skip_newlines_(starts_in_reasoning) {}

ReasoningSplitter::Delta ReasoningSplitter::push(std::string_view text) {
  Delta delta;
  held_ += text;
  while (true) {
    const std::span<const std::string_view> tags =
        in_reasoning_ ? std::span<const std::string_view>(kReasoningTags) : kContentTags;
    size_t first = std::string::npos;
    std::string_view found;
    for (const std::string_view tag : tags) {
      const size_t position = held_.find(tag);
      if (position < first) {
        first = position;
        found = tag;
      }
    }
    if (found.empty()) {
      const size_t certain = held_.size() - possible_tag_length(held_, tags);
      emit(std::string_view(held_).substr(0, certain), delta);
      held_.erase(0, certain);
      return delta;
    }
    emit(std::string_view(held_).substr(0, first), delta);
    held_.erase(0, first + found.size());
    take_tag(found, delta);
  }
}

void ReasoningSplitter::take_tag(std::string_view tag, Delta& delta) {
  if (in_reasoning_ && tag != kOpen) {
    in_reasoning_ = false;
    skip_newlines_ = true;
    whitespace_.clear();
  }
  // The reasoning ended without its own tag: this one begins the content.
  if (tag == kToolCall) emit(tag, delta);
}

ReasoningSplitter::Delta ReasoningSplitter::finish() {
  Delta delta;
  emit(held_, delta);
  held_.clear();
  return delta;
}

void ReasoningSplitter::emit(std::string_view text, Delta& delta) {
  if (skip_newlines_) {
    text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
    if (text.empty()) return;
    skip_newlines_ = false;
  }
  if (!in_reasoning_) {
    delta.content += text;
    return;
  }
  const size_t last = text.find_last_not_of(" \t\r\n");
  const size_t solid = last == std::string_view::npos ? 0 : last + 1;
  if (solid > 0) {
    delta.reasoning += whitespace_;
    delta.reasoning += text.substr(0, solid);
    whitespace_.clear();
  }
  whitespace_ += text.substr(solid);
}

}  // namespace tetrad
