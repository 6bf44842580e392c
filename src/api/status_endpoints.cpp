#include "api/endpoints.h"
#include "api/generation.h"
#include "base/metrics.h"

namespace tetrad::api {
namespace {

constexpr Seconds kHealthDeadline(20);

json::object model_object(const ServiceContext& context, const std::string& name) {
  json::object object;
  object["id"] = name;
  object["object"] = "model";
  object["created"] = context.started;
  object["owned_by"] = "tetrad";
  object["max_model_len"] = context.engine.options().max_model_len;
  return object;
}

}  // namespace

JsonResponse ok_response(const json::object& body) {
  return {.status = 200, .body = to_json_text(body)};
}

void answer_models(const ServiceContext& context, const Writer& writer) {
  json::array data;
  for (const std::string& name : context.options.model_names)
    data.push_back(model_object(context, name));
  json::object list;
  list["object"] = "list";
  list["data"] = std::move(data);
  writer->send(ok_response(list));
}

void answer_model(const ServiceContext& context, const std::string& name, const Writer& writer) {
  const Result<std::string> known = choose_model(context.options, name);
  writer->send(known ? ok_response(model_object(context, *known)) : error_response(known.error()));
}

void answer_health(const Writer& writer) {
  writer->send(ok_response({{"status", "ok"}}));
}

void answer_ready(const ServiceContext& context, const Writer& writer) {
  if (!context.options.is_leaving || !context.options.is_leaving()) {
    writer->send(ok_response({{"status", "ready"}}));
    return;
  }
  writer->send({.status = 503,
                .body = to_json_text(json::object{{"status", "draining"}}),
                .headers = {{"Retry-After", "1"}}});
}

void answer_health_generate(ServiceContext& context, const Writer& writer) {
  context.health_probe.answer(context.engine, context.tokenizer, writer, kHealthDeadline);
}

void answer_version(const ServiceContext& context, const Writer& writer) {
  writer->send(ok_response(context.options.version));
}

void answer_load(const ServiceContext& context, const Writer& writer) {
  const Engine::Stats stats = context.engine.stats();
  json::object object;
  object["running"] = stats.running;
  object["waiting"] = stats.waiting;
  writer->send(ok_response(object));
}

void answer_metrics(const ServiceContext& context, const Writer& writer) {
  const auto& text = context.options.metrics_text;
  writer->send({.status = 200,
                .body = text ? text() : "",
                .content_type = std::string(metrics::Registry::kContentType)});
}

}  // namespace tetrad::api
