#include "engine_flags.h"

#include <fmt/format.h>
#include <unistd.h>

#include "byte_size_flag.h"
#include "number_flag.h"
#include "plan/gpu_memory.h"

namespace tetrad {
namespace {

/// What is left of a share of the memory when the weights and a step's activations are in it.
Result<int64_t> memory_left(double utilization, const EngineOptions& options,
                            const LoadedModel& loaded) {
  const double memory =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  const auto weights = static_cast<double>(loaded.checkpoint->total_bytes());
  const auto activations = static_cast<double>(
      plan::workspace_bytes(loaded.model->config(), plan::Layout{},
                            {.max_num_seqs = options.max_num_seqs,
                             .max_num_batched_tokens = options.max_num_batched_tokens}));
  const double left = utilization * memory - weights - activations;
  if (left > 0) return static_cast<int64_t>(left);
  constexpr double kGiB = 1 << 30;
  return fail_param(
      "--gpu-memory-utilization",
      "--gpu-memory-utilization {}: of {:.2f} GiB of memory the weights take {:.2f} "
      "GiB and a step's activations {:.2f} GiB, which leaves nothing for the KV cache",
      utilization, memory / kGiB, weights / kGiB, activations / kGiB);
}

}  // namespace

void add_engine_flags(CLI::App& verb, EngineFlags& flags) {
  verb.add_option("--max-model-len", flags.max_model_len,
                  "longest prompt and answer together, in tokens (130k, 128K); auto: the model's")
      ->transform(as_max_model_len())
      ->default_str("auto");
  verb.add_option("--max-num-seqs", flags.max_num_seqs, "requests computed together")
      ->transform(as_whole_number({.from = 1, .to = 4096}))
      ->capture_default_str();
  verb.add_option("--max-num-batched-tokens", flags.max_num_batched_tokens, "tokens of one step")
      ->transform(as_whole_number({.from = 1, .to = 1 << 20}))
      ->capture_default_str();
  verb.add_option("--max-queued-requests", flags.max_queued_requests,
                  "requests that may wait for their turn; more are answered 429")
      ->transform(as_whole_number({.from = 1, .to = 1 << 20}))
      ->capture_default_str();
  CLI::Option* memory =
      verb.add_option("--kv-cache-memory,--kv-cache-memory-bytes", flags.kv_cache_memory,
                      "memory for keys and values: 8GiB (1024^3) or 8GB (1000^3)")
          ->transform(as_byte_size());
  verb.add_option("--gpu-memory-utilization", flags.memory_utilization,
                  "share of this machine's memory for weights, activations and KV cache together, "
                  "instead of --kv-cache-memory; without both the cache takes what max-num-seqs "
                  "requests of full length need, but at most a quarter of the memory")
      ->transform(as_number({.from = 0.01, .to = 1.0}))
      ->excludes(memory);
  verb.add_flag("--enable-prefix-caching,!--no-enable-prefix-caching", flags.enable_prefix_caching,
                "keep keys and values of finished requests for those that begin alike (default)");
  verb.add_option("--speculative-config", flags.speculative_config,
                  R"(speculation: '{"method": "ngram", "num_speculative_tokens": 5, )"
                  R"("prompt_lookup_max": 5, "prompt_lookup_min": 2}')");
}

Result<EngineOptions> engine_options(const EngineFlags& flags, const LoadedModel& loaded) {
  EngineOptions options = engine_options(loaded);
  options.max_model_len = flags.max_model_len;
  options.max_num_seqs = flags.max_num_seqs;
  options.max_num_batched_tokens = flags.max_num_batched_tokens;
  options.max_waiting = flags.max_queued_requests;
  options.enable_prefix_caching = flags.enable_prefix_caching;
  options.kv_cache_bytes = static_cast<int64_t>(flags.kv_cache_memory);
  if (flags.memory_utilization) {
    TETRAD_ASSIGN(options.kv_cache_bytes, memory_left(*flags.memory_utilization, options, loaded));
  }
  if (!flags.speculative_config.empty()) {
    TETRAD_ASSIGN(options.ngram, parse_speculative_config(flags.speculative_config));
  }
  return options;
}

std::string describe_capacity(const Engine& engine) {
  const EngineOptions& options = engine.options();
  const int64_t tokens = engine.num_kv_blocks() * kKvBlockSize;
  return fmt::format("KV cache: {} MiB, {} tokens: {:.1f} requests of {} tokens at once",
                     options.kv_cache_bytes >> 20, tokens,
                     static_cast<double>(tokens) / static_cast<double>(options.max_model_len),
                     options.max_model_len);
}

}  // namespace tetrad
