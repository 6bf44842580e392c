#pragma once

// A client and a server in virtual time: what is measured can be said in advance, to the digit.

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "http/client.h"

namespace tetrad::bench {

/// What the server does with one request.
struct FakeResponse {
  int status = 200;
  std::string content_type = "text/event-stream";
  std::vector<std::pair<double, std::string>> pieces;  // seconds after the request, bytes
  Result<void> end;
};

inline std::string sse(const std::string& data) {
  return "data: " + data + "\n\n";
}
inline std::string text_chunk(const std::string& text) {
  return sse(R"({"choices":[{"index":0,"text":")" + text + R"(","finish_reason":null}]})");
}
inline std::string finish_chunk() {
  return sse(R"({"choices":[{"index":0,"text":"","finish_reason":"length"}]})");
}
inline std::string usage_chunk(int prompt, int completion) {
  return sse(
      fmt::format(R"({{"choices":[],"usage":{{"prompt_tokens":{},"completion_tokens":{}}}}})",
                  prompt, completion));
}

/// `tokens` chunks, the first after `ttft`, the others `gap` apart; then the end.
inline FakeResponse streamed_answer(double ttft, double gap, int tokens) {
  FakeResponse response;
  double time = ttft;
  for (int i = 0; i < tokens; ++i, time += gap)
    response.pieces.emplace_back(time, text_chunk("x"));
  const double last = time - gap;
  response.pieces.emplace_back(last, finish_chunk());
  response.pieces.emplace_back(last, usage_chunk(10, tokens));
  response.pieces.emplace_back(last, sse("[DONE]"));
  return response;
}

class FakeClient final : public http::Client, public Clock {
 public:
  using Server = std::function<FakeResponse(const http::ClientRequest&)>;

  explicit FakeClient(Server server) : server_(std::move(server)) {}

  std::vector<http::ClientRequest> requests;
  std::vector<double> request_times;
  std::vector<http::ExchangeId> cancelled;

  Seconds now() const override { return now_; }

  http::ExchangeId send(http::ClientRequest request,
                        std::shared_ptr<http::ResponseSink> sink) override {
    const http::ExchangeId id = requests.size() + 1;
    open_.insert(id);
    const FakeResponse response = server_(request);
    requests.push_back(std::move(request));
    request_times.push_back(now_.count());
    sinks_.emplace(id, sink);
    at(id, 0, [response, sink] { sink->on_head(response.status, response.content_type); });
    double last = 0;
    for (const auto& [time, bytes] : response.pieces) {
      at(id, time, [this, id, sink, piece = bytes] {
        if (!sink->on_body(piece)) cancel(id);
      });
      last = time;
    }
    at(id, last, [this, id, response] { end(id, response.end); });
    return id;
  }

  void cancel(http::ExchangeId id) override {
    if (!open_.contains(id)) return;
    cancelled.push_back(id);
    end(id, fail(ErrorCode::cancelled, "cancelled"));
  }

  void call_after(Seconds delay, std::function<void()> callback) override {
    queue_.emplace(std::pair(now_ + delay, ++order_), std::move(callback));
  }

  void run() override {
    stopped_ = false;
    while (!stopped_ && !queue_.empty()) {
      const auto first = queue_.begin();
      now_ = first->first.first;
      const std::function<void()> callback = std::move(first->second);
      queue_.erase(first);
      callback();
    }
  }

  void stop() override { stopped_ = true; }

 private:
  void at(http::ExchangeId id, double delay, std::function<void()> callback) {
    call_after(Seconds(delay), [this, id, callback = std::move(callback)] {
      if (open_.contains(id)) callback();
    });
  }

  void end(http::ExchangeId id, Result<void> result) {
    open_.erase(id);
    const auto sink = std::move(sinks_.at(id));
    sinks_.erase(id);
    sink->on_end(std::move(result));
  }

  Server server_;
  Seconds now_{1000};
  uint64_t order_ = 0;
  std::map<std::pair<Seconds, uint64_t>, std::function<void()>> queue_;
  std::set<http::ExchangeId> open_;
  std::map<http::ExchangeId, std::shared_ptr<http::ResponseSink>> sinks_;
  bool stopped_ = false;
};

}  // namespace tetrad::bench
