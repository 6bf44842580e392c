#include "engine/event_batcher.h"

#include <iterator>

namespace tetrad {
namespace {

template <class T>
void append_moved(std::vector<T>& to, std::vector<T>& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

/// What belongs to the first event of a request stays: nothing is held before that.
void join(GenerationEvent& held, GenerationEvent event) {
  for (TextSpan& tag : event.tags) {
    tag.begin += held.text.size();
    tag.end += held.text.size();
  }
  append_moved(held.token_ids, event.token_ids);
  append_moved(held.tags, event.tags);
  append_moved(held.logprobs, event.logprobs);
  held.text += event.text;
  held.finish_reason = event.finish_reason;
  held.stop_reason = std::move(event.stop_reason);
  held.error = std::move(event.error);
}

}  // namespace

void EventBatcher::on_event(GenerationEvent event) {
  if (!has_begun_) {
    has_begun_ = true;
    sink_->on_event(std::move(event));
    return;
  }
  join(held_, std::move(event));
  if (!held_.finish_reason && std::ssize(held_.token_ids) < interval_) return;
  sink_->on_event(std::exchange(held_, GenerationEvent()));
}

}  // namespace tetrad
