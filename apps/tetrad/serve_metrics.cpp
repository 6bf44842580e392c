#include "serve_metrics.h"

#include "base/log.h"
#include "engine/observer_list.h"
#include "engine/status_log.h"

namespace tetrad {
namespace {

/// vLLM's name of a KV cache's element type.
std::string kv_cache_dtype_label(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return "bfloat16";
    case DType::f32:
      return "float32";
    case DType::f8_e4m3:
      return "fp8_e4m3";
    default:
      return std::string(dtype_name(dtype));
  }
}

EngineMetricsOptions metrics_options(const std::string& model_name, const ServeFlags& flags,
                                     const LoadedModel& loaded, const EngineOptions& options) {
  const int64_t longest = loaded.model->config().max_position_embeddings;
  return {.model_name = model_name,
          .max_model_len = options.max_model_len > 0 ? options.max_model_len : longest,
          .num_speculative_tokens = options.ngram.num_speculative_tokens,
          .older_names = !flags.show_hidden_metrics.empty()};
}

}  // namespace

ServeMetrics::ServeMetrics(const std::string& model_name, const ServeFlags& flags,
                           const LoadedModel& loaded, const EngineOptions& options)
    : engine_metrics_(std::make_shared<EngineMetrics>(
          registry_, metrics_options(model_name, flags, loaded, options))) {
  std::vector<std::shared_ptr<EngineObserver>> observers{engine_metrics_};
  if (!flags.disable_log_stats) {
    observers.push_back(std::make_shared<StatusLog>(
        clock_, [](const std::string& line) { log::info("{}", line); }));
  }
  observer_ = std::make_shared<ObserverList>(std::move(observers));
}

void ServeMetrics::describe(const Engine& engine, const LoadedModel& loaded) {
  const EngineOptions& options = engine.options();
  engine_metrics_->describe({.max_model_len = options.max_model_len,
                             .block_size = kKvBlockSize,
                             .num_kv_blocks = engine.num_kv_blocks(),
                             .kv_cache_bytes = options.kv_memory.bytes,
                             .kv_cache_dtype = kv_cache_dtype_label(loaded.model->kv_dtype()),
                             .enable_prefix_caching = options.enable_prefix_caching});
  const metrics::Labels build = {{"version", TETRAD_VERSION},
                                 {"build_type", TETRAD_BUILD_TYPE},
                                 {"device", loaded.model->device()},
                                 {"kernels", loaded.model->kernels()}};
  registry_.gauge("tetrad:build_info", "The program, as labels.", build).set(1);
}

std::string ServeMetrics::text(const Engine& engine) {
  const Engine::Stats stats = engine.stats();
  engine_metrics_->set_load(stats.running, stats.waiting, engine.num_kv_blocks(),
                            stats.free_kv_blocks);
  return registry_.text();
}

}  // namespace tetrad
