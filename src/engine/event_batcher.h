#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "engine/request.h"

namespace tetrad {

/// Joins the news of several steps, so that a client gets fewer and larger ones: the first token is
/// passed on at once, then as soon as there are `interval` tokens, and what is left with the end.
class EventBatcher final : public EventSink {
 public:
  EventBatcher(std::shared_ptr<EventSink> sink, int64_t interval)
      : sink_(std::move(sink)), interval_(interval) {}

  void on_event(GenerationEvent event) override;

 private:
  const std::shared_ptr<EventSink> sink_;
  const int64_t interval_;
  bool has_begun_ = false;
  GenerationEvent held_;
};

}  // namespace tetrad
