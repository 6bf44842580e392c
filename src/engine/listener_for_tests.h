#pragma once

// For tests only.

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/request.h"

namespace tetrad {

/// Everything one request was told, and how often it was told of its end.
class Listener final : public EventSink {
 public:
  void on_event(GenerationEvent event) override {
    const std::scoped_lock lock(mutex_);
    EXPECT_EQ(num_ends_, 0) << "an event after the last one";
    ids_.insert(ids_.end(), event.token_ids.begin(), event.token_ids.end());
    text_ += event.text;
    if (!event.prompt_logprobs.empty()) prompt_logprobs_ = event.prompt_logprobs;
    if (event.finish_reason) {
      ++num_ends_;
      end_ = std::move(event);
    }
    changed_.notify_all();
  }

  void wait_for_tokens(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ids_.size() >= count || num_ends_ > 0; });
  }
  /// The last event, with the tokens and text of all.
  GenerationEvent wait_for_end() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return num_ends_ > 0; });
    GenerationEvent all = end_;
    all.token_ids = ids_;
    all.text = text_;
    return all;
  }
  std::vector<TokenLogprobs> prompt_logprobs() {
    const std::scoped_lock lock(mutex_);
    return prompt_logprobs_;
  }
  size_t num_tokens() {
    const std::scoped_lock lock(mutex_);
    return ids_.size();
  }
  int num_ends() {
    const std::scoped_lock lock(mutex_);
    return num_ends_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<TokenId> ids_;
  std::string text_;
  std::vector<TokenLogprobs> prompt_logprobs_;
  GenerationEvent end_;
  int num_ends_ = 0;
};

}  // namespace tetrad
