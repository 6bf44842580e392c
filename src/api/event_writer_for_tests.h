#pragma once

// For tests only: a client that keeps what it is sent.

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "api/transport.h"
#include "base/json.h"

namespace tetrad::api {

/// Thread-safe. Fails the test for calls in an order that transport.h forbids.
class EventWriter final : public ResponseWriter {
 public:
  struct Event {
    std::string name;
    json::value data;  // a string for what is not JSON, such as [DONE]
  };

  void send(JsonResponse response) override {
    const std::scoped_lock lock(mutex_);
    EXPECT_FALSE(response_ || started_) << "answered twice";
    response_ = std::move(response);
    changed_.notify_all();
  }
  void start_events(std::vector<Header> headers) override {
    const std::scoped_lock lock(mutex_);
    EXPECT_FALSE(response_ || started_) << "answered twice";
    headers_ = std::move(headers);
    started_ = true;
  }
  void send_event(std::string_view data, std::string_view name) override {
    const std::scoped_lock lock(mutex_);
    EXPECT_TRUE(started_ && !finished_);
    EXPECT_EQ(data.find('\n'), std::string_view::npos);
    auto value = parse_json(data);
    events_.push_back({std::string(name), value ? std::move(*value) : json::value(data)});
  }
  void finish_events() override {
    const std::scoped_lock lock(mutex_);
    EXPECT_TRUE(started_ && !finished_);
    finished_ = true;
    changed_.notify_all();
  }
  void on_disconnect(std::function<void()> /*callback*/) override {}

  /// Waits for the end of the answer.
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return response_ || finished_; });
  }
  JsonResponse response() {
    wait();
    return response_.value();
  }
  json::value body() { return parse_json(response().body).value(); }
  std::vector<Event> events() {
    wait();
    return events_;
  }
  std::vector<Header> headers() {
    wait();
    return response_ ? response_->headers : headers_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<JsonResponse> response_;
  std::vector<Header> headers_;
  std::vector<Event> events_;
  bool started_ = false;
  bool finished_ = false;
};

}  // namespace tetrad::api
