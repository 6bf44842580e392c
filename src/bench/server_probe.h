#pragma once

// What is asked of a server beside the load.

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"
#include "bench/metrics_page.h"
#include "http/client.h"

namespace tetrad::bench {

struct ServedModel {
  std::string id;
  std::optional<int64_t> max_model_len;  // vLLM and tetrad say it
};

/// The model called `name` at /v1/models, the first one if "". Runs the client. A server that does
/// not answer, or does not serve the model, is an error that says so.
Result<ServedModel> find_model(http::Client& client, const std::string& name,
                               const std::string& bearer_token);

/// All empty if the server has no /metrics.
ServerMetrics fetch_metrics(http::Client& client, const std::string& bearer_token);

}  // namespace tetrad::bench
