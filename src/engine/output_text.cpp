#include "engine/output_text.h"

#include <algorithm>
#include <utility>

namespace tetrad {

OutputText::OutputText(const Tokenizer& tokenizer, std::vector<std::string> stop,
                       bool skip_special_tokens, bool include_stop)
    : tokenizer_(tokenizer),
      decoder_(tokenizer, skip_special_tokens),
      stop_(std::move(stop)),
      include_stop_(include_stop) {}

OutputText::Step OutputText::push(TokenId id, bool may_stop) {
  const std::string text = decoder_.push(id);
  held_ += text;
  const std::string_view bytes = tokenizer_.token_bytes(id);
  if (!text.empty() && tokenizer_.is_added(id) && text.ends_with(bytes)) {
    tags_.push_back({held_.size() - bytes.size(), held_.size()});
  }
  if (!may_stop) num_exempt_ = held_.size();
  return release(false);
}

OutputText::Step OutputText::finish() {
  held_ += decoder_.finish();
  return release(true);
}

OutputText::FoundStop OutputText::find_stop() const {
  FoundStop first;
  for (const std::string& stop : stop_) {
    const size_t from = num_exempt_ < stop.size() ? 0 : num_exempt_ - stop.size() + 1;
    const size_t begin = held_.find(stop, from);
    if (begin == std::string::npos) continue;
    const size_t end = begin + stop.size();
    if (end < first.end || (end == first.end && begin < first.begin)) first = {begin, end};
  }
  return first;
}

OutputText::Step OutputText::release(bool at_end) {
  if (const auto [begin, end] = find_stop(); end != std::string::npos) {
    Step step = beginning(include_stop_ ? end : begin);
    step.stopped_by = held_.substr(begin, end - begin);
    held_.clear();
    tags_.clear();
    return step;
  }
  // The longest suffix that is a proper prefix of a stop string stays.
  size_t keep = 0;
  for (const std::string& stop : stop_) {
    for (size_t length = std::min(stop.size() - 1, held_.size()); !at_end && length > keep;
         --length) {
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, length)))
        keep = length;
    }
  }
  size_t released = held_.size() - keep;
  // A tag is one thing: it goes, or stays, as a whole.
  for (const TextSpan& tag : tags_) {
    if (tag.begin < released && released < tag.end) released = tag.begin;
  }
  Step step = beginning(released);
  held_.erase(0, released);
  std::erase_if(tags_, [released](const TextSpan& tag) { return tag.end <= released; });
  for (TextSpan& tag : tags_)
    tag = {tag.begin - released, tag.end - released};
  num_exempt_ -= std::min(num_exempt_, released);
  return step;
}

OutputText::Step OutputText::beginning(size_t size) const {
  Step step{.text = held_.substr(0, size), .tags = {}, .stopped_by = std::nullopt};
  for (const TextSpan& tag : tags_) {
    if (tag.end <= size) step.tags.push_back(tag);
  }
  return step;
}

}  // namespace tetrad
