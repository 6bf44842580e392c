// Feeds EngineMetrics with the events that oracle.py thinks up and prints the text of /metrics.
// Standard input: one JSON object a line, the first with the options, each other with an "event"
// and its numbers.

#include <cstdio>
#include <iostream>
#include <string>

#include "base/json.h"
#include "engine/engine_metrics.h"

namespace {

using namespace tetrad;

int64_t number(const json::object& object, std::string_view key) {
  return object.at(key).as_int64();
}

Seconds seconds(const json::object& object, std::string_view key) {
  // As text, since the JSON reader rounds the last digit, and a value may be exactly a bound.
  return Seconds(std::stod(std::string(object.at(key).as_string())));
}

StepReport step_report(const json::object& event) {
  return {.num_running = number(event, "num_running"),
          .num_waiting = number(event, "num_waiting"),
          .num_kv_blocks = number(event, "num_kv_blocks"),
          .num_free_kv_blocks = number(event, "num_free_kv_blocks"),
          .num_batched_tokens = number(event, "num_batched_tokens"),
          .num_prompt_tokens = number(event, "num_prompt_tokens"),
          .num_recomputed_tokens = number(event, "num_recomputed_tokens"),
          .num_generated_tokens = number(event, "num_generated_tokens"),
          .num_preemptions = number(event, "num_preemptions"),
          .prefix_cache_queries = number(event, "prefix_cache_queries"),
          .prefix_cache_hits = number(event, "prefix_cache_hits"),
          .duration = seconds(event, "duration")};
}

RequestReport request_report(const json::object& event) {
  constexpr FinishReason kReasons[] = {FinishReason::stop, FinishReason::length,
                                       FinishReason::cancelled, FinishReason::error};
  return {.finish_reason = kReasons[number(event, "finish_reason")],
          .num_prompt_tokens = number(event, "num_prompt_tokens"),
          .num_cached_tokens = number(event, "num_cached_tokens"),
          .num_generated_tokens = number(event, "num_generated_tokens"),
          .max_tokens = number(event, "max_tokens"),
          .num_preemptions = number(event, "num_preemptions"),
          .has_nan_logits = event.at("has_nan_logits").as_bool(),
          .arrived = seconds(event, "arrived"),
          .admitted = seconds(event, "admitted"),
          .first_token = seconds(event, "first_token"),
          .last_token = seconds(event, "last_token"),
          .finished = seconds(event, "finished")};
}

void feed(const json::object& event, EngineObserver& observer) {
  const std::string_view kind = event.at("event").as_string();
  if (kind == "step") observer.on_step(step_report(event));
  if (kind == "finish") observer.on_finish(request_report(event));
  if (kind == "first_token") observer.on_first_token(seconds(event, "seconds"));
  if (kind == "tokens") observer.on_tokens(seconds(event, "seconds"), number(event, "count"));
  if (kind == "draft") observer.on_draft(number(event, "tokens"), number(event, "accepted"));
  if (kind == "queue_full") observer.on_queue_full();
}

json::object read_object(const std::string& line) {
  auto value = parse_json(line);
  return value && value->is_object() ? std::move(value->get_object()) : json::object();
}

}  // namespace

int main() {
  std::string line;
  std::getline(std::cin, line);
  const json::object options = read_object(line);
  metrics::Registry registry;
  EngineMetrics metrics(registry,
                        {.model_name = std::string(options.at("model_name").as_string()),
                         .max_model_len = number(options, "max_model_len"),
                         .num_speculative_tokens = number(options, "num_speculative_tokens"),
                         .older_names = true});
  metrics.describe({.max_model_len = number(options, "max_model_len"),
                    .block_size = 16,
                    .num_kv_blocks = 1000,
                    .kv_cache_bytes = 1 << 30,
                    .kv_cache_dtype = "bfloat16",
                    .enable_prefix_caching = true});
  while (std::getline(std::cin, line))
    feed(read_object(line), metrics);
  std::fputs(registry.text().c_str(), stdout);
  return 0;
}
