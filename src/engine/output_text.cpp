#include "engine/output_text.h"

#include <algorithm>
#include <utility>

namespace tetrad {

OutputText::OutputText(const Tokenizer& tokenizer, std::vector<std::string> stop,
                       bool skip_special_tokens)
    : decoder_(tokenizer, skip_special_tokens), stop_(std::move(stop)) {}

OutputText::Step OutputText::push(TokenId id) {
  held_ += decoder_.push(id);
  return release(false);
}

OutputText::Step OutputText::finish() {
  held_ += decoder_.finish();
  return release(true);
}

OutputText::Step OutputText::release(bool at_end) {
  size_t stop_at = std::string::npos;
  const std::string* found = nullptr;
  for (const std::string& stop : stop_) {
    const size_t position = held_.find(stop);
    if (position < stop_at) {
      stop_at = position;
      found = &stop;
    }
  }
  if (found != nullptr) {
    Step step{held_.substr(0, stop_at), *found};
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
