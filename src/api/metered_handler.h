#pragma once

// Counts HTTP requests and their time, under the names that vLLM's instrumentation has.

#include "api/transport.h"
#include "base/metrics.h"

namespace tetrad::api {

/// Hands requests on and counts how they were answered: http_requests_total and
/// http_request_duration_seconds. Probes and scrapes, which nobody waits for, are left out.
class MeteredHandler final : public RequestHandler {
 public:
  /// Both must outlive this, and the registry every request's writer.
  MeteredHandler(RequestHandler& handler, metrics::Registry& registry)
      : handler_(handler), registry_(registry) {}

  std::optional<JsonResponse> refuse(const RequestHead& head) const override;
  void handle(HttpRequest request, std::shared_ptr<ResponseWriter> writer) override;

 private:
  RequestHandler& handler_;
  metrics::Registry& registry_;
};

}  // namespace tetrad::api
