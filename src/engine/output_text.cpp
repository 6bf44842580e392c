#include "engine/output_text.h"

#include <algorithm>
#include <utility>

namespace tetrad {

OutputText::OutputText(const Tokenizer& tokenizer, std::vector<std::string> stop,
                       bool skip_special_tokens)
    : decoder_(tokenizer, skip_special_tokens), stop_(std::move(stop)) {}

OutputText::Step OutputText::push(TokenId id, bool may_stop) {
  held_ += decoder_.push(id);
  if (!may_stop) return {.text = std::exchange(held_, {}), .stopped_by = std::nullopt};
  return release(false);
}

OutputText::Step OutputText::finish() {
  held_ += decoder_.finish();
  return release(true);
}

OutputText::Step OutputText::release(bool at_end) {
  const std::string* found = nullptr;
  size_t found_end = std::string::npos;
  for (const std::string& stop : stop_) {
    const size_t position = held_.find(stop);
    if (position == std::string::npos) continue;
    const size_t end = position + stop.size();
    if (end < found_end || (end == found_end && stop.size() > found->size())) {
      found = &stop;
      found_end = end;
    }
  }
  if (found != nullptr) {
    Step step{held_.substr(0, found_end - found->size()), *found};
    held_.clear();
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
  Step step{held_.substr(0, held_.size() - keep), std::nullopt};
  held_.erase(0, held_.size() - keep);
  return step;
}

}  // namespace tetrad
