#include "bench/server_probe.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "bench/json_access.h"
#include "bench/stream_chunk.h"

namespace tetrad::bench {
namespace {

constexpr size_t kMaxBytes = 16 << 20;

class WholeResponse final : public http::ResponseSink {
 public:
  void on_head(int status, std::string_view /*content_type*/) override { status_ = status; }
  bool on_body(std::string_view bytes) override {
    body_ += bytes;
    return body_.size() <= kMaxBytes;
  }
  void on_end(Result<void> end) override { end_ = std::move(end); }

  Result<std::string> take() {
    TETRAD_TRY(end_);
    if (status_ != 200) return fail(ErrorCode::io, "HTTP {}: {}", status_, error_message(body_));
    return std::move(body_);
  }

 private:
  int status_ = 0;
  std::string body_;
  Result<void> end_;
};

Result<std::string> get(http::Client& client, const std::string& target,
                        const std::string& bearer_token) {
  const auto response = std::make_shared<WholeResponse>();
  client.send({.method = "GET", .target = target, .bearer_token = bearer_token}, response);
  client.run();
  return response->take();
}

Result<std::vector<ServedModel>> parse_models(std::string_view body) {
  TETRAD_ASSIGN(const json::value value, parse_json(body));
  const json::array* data = value.is_object() ? array_at(value.get_object(), "data") : nullptr;
  if (data == nullptr) return fail(ErrorCode::corrupt_data, "there is no list \"data\"");
  std::vector<ServedModel> models;
  for (const json::value& entry : *data) {
    const json::object* model = entry.if_object();
    if (model == nullptr || string_at(*model, "id").empty()) continue;
    models.push_back({.id = std::string(string_at(*model, "id")),
                      .max_model_len = integer_at(*model, "max_model_len")});
  }
  if (models.empty()) return fail(ErrorCode::corrupt_data, "it lists no model");
  return models;
}

}  // namespace

Result<ServedModel> find_model(http::Client& client, const std::string& name,
                               const std::string& bearer_token) {
  auto models = get(client, "/v1/models", bearer_token).and_then(parse_models);
  if (!models) return tl::unexpected(std::move(models.error()).in("GET /v1/models"));
  if (name.empty()) return models->front();
  std::vector<std::string> ids;
  for (const ServedModel& model : *models) {
    if (model.id == name) return model;
    ids.push_back(model.id);
  }
  return fail_param("--model", "--model: the server does not serve {}; it serves {}", name,
                    fmt::join(ids, ", "));
}

ServerMetrics fetch_metrics(http::Client& client, const std::string& bearer_token) {
  const auto page = get(client, "/metrics", bearer_token);
  return page ? read_server_metrics(*page) : ServerMetrics();
}

}  // namespace tetrad::bench
