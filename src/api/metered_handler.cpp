#include "api/metered_handler.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <utility>

#include "api/router.h"
#include "base/clock.h"

namespace tetrad::api {
namespace {

/// A request as its metrics tell it from others. Each value is one of few, whatever clients send.
struct RequestKind {
  std::string handler;  // the route: "/v1/models/{id}", "none"
  std::string method;   // "GET", …, "other"
};

/// Nothing for probes and scrapes.
std::optional<RequestKind> kind_of(const RequestHead& head) {
  constexpr std::array<std::string_view, 7> kMethods = {"GET",    "HEAD",  "POST",   "PUT",
                                                        "DELETE", "PATCH", "OPTIONS"};
  RequestKind kind{.handler = route_pattern(head.target), .method = "other"};
  const Route* found = find_route(head.target);
  const bool is_probe =
      found != nullptr && found->method == "GET" && !found->path.starts_with("/v1/");
  if (is_probe) return std::nullopt;
  if (std::ranges::find(kMethods, head.method) != kMethods.end()) kind.method = head.method;
  return kind;
}

void count(metrics::Registry& registry, const RequestKind& kind, int status, Seconds duration) {
  constexpr double kBounds[] = {0.1, 0.5, 1.0};  // the instrumentation's
  metrics::Labels labels = {{"handler", kind.handler}, {"method", kind.method}};
  registry
      .histogram("http_request_duration_seconds",
                 "From a request's last byte to the last of its response, by route.", kBounds,
                 labels)
      .observe(duration.count());
  labels.emplace_back("status", fmt::format("{}xx", status / 100));
  registry.counter("http_requests", "HTTP requests, by route and kind of status.", labels).add();
}

/// Passes a response on and counts it as it completes, or when nobody will complete it any more.
class MeteredWriter final : public ResponseWriter {
 public:
  MeteredWriter(std::shared_ptr<ResponseWriter> writer, metrics::Registry& registry,
                RequestKind kind)
      : writer_(std::move(writer)), registry_(registry), kind_(std::move(kind)) {}
  ~MeteredWriter() override { count_once(); }
  MeteredWriter(const MeteredWriter&) = delete;
  MeteredWriter& operator=(const MeteredWriter&) = delete;

  // Counted before the client can know of the end, so that it finds its request in the metrics.
  void send(JsonResponse response) override {
    status_ = response.status;
    count_once();
    writer_->send(std::move(response));
  }
  void start_events(std::vector<Header> headers) override {
    status_ = 200;
    writer_->start_events(std::move(headers));
  }
  void send_event(std::string_view data, std::string_view name) override {
    writer_->send_event(data, name);
  }
  void finish_events() override {
    count_once();
    writer_->finish_events();
  }
  void on_disconnect(std::function<void()> callback) override {
    writer_->on_disconnect(std::move(callback));
  }
  void on_backlog(std::function<void(bool)> callback) override {
    writer_->on_backlog(std::move(callback));
  }

 private:
  void count_once() {
    if (counted_.exchange(true)) return;
    count(registry_, kind_, status_, SteadyClock().now() - began_);
  }

  const std::shared_ptr<ResponseWriter> writer_;
  metrics::Registry& registry_;
  const RequestKind kind_;
  const Seconds began_ = SteadyClock().now();
  std::atomic<int> status_{500};  // what the transport answers if nobody does
  std::atomic<bool> counted_{false};
};

}  // namespace

std::optional<JsonResponse> MeteredHandler::refuse(const RequestHead& head) const {
  std::optional<JsonResponse> refusal = handler_.refuse(head);
  if (refusal) {
    if (const auto kind = kind_of(head)) count(registry_, *kind, refusal->status, Seconds(0));
  }
  return refusal;
}

void MeteredHandler::handle(HttpRequest request, std::shared_ptr<ResponseWriter> writer) {
  if (auto kind = kind_of(request.head)) {
    writer = std::make_shared<MeteredWriter>(std::move(writer), registry_, std::move(*kind));
  }
  handler_.handle(std::move(request), std::move(writer));
}

}  // namespace tetrad::api
