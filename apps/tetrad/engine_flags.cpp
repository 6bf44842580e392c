#include "engine_flags.h"

#include <fmt/format.h>

#include "byte_size_flag.h"
#include "number_flag.h"

namespace tetrad {
void add_max_model_len_flag(CLI::App& verb, int64_t& max_model_len) {
  verb.add_option("--max-model-len", max_model_len,
                  "longest prompt and answer together, in tokens (130k, 128K); auto: the model's")
      ->transform(as_max_model_len())
      ->default_str("auto");
}

void add_memory_flags(CLI::App& verb, MemoryFlags& flags) {
  add_max_model_len_flag(verb, flags.max_model_len);
  CLI::Option* memory =
      verb.add_option("--kv-cache-memory,--kv-cache-memory-bytes", flags.kv_cache_memory,
                      "memory for keys and values: 8GiB (1024^3) or 8GB (1000^3)")
          ->transform(as_byte_size());
  verb.add_option("--gpu-memory-utilization", flags.memory_utilization,
                  "share of the GPU's memory, or with --device cpu of this machine's, for weights, "
                  "activations and KV cache together, instead of --kv-cache-memory; without both "
                  "0.9 on a GPU, and on the CPU the cache takes what max-num-seqs requests of full "
                  "length need, but at most a quarter of the memory")
      ->transform(as_number({.from = 0.01, .to = 1.0}))
      ->excludes(memory);
}

void apply(const MemoryFlags& flags, EngineOptions& options) {
  options.max_model_len = flags.max_model_len;
  options.kv_memory = {.bytes = static_cast<int64_t>(flags.kv_cache_memory),
                       .utilization = flags.memory_utilization};
}

void add_engine_flags(CLI::App& verb, EngineFlags& flags) {
  add_memory_flags(verb, flags.memory);
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
  verb.add_flag("--enable-prefix-caching,!--no-enable-prefix-caching", flags.enable_prefix_caching,
                "keep keys and values of finished requests for those that begin alike (default)");
  verb.add_option("--speculative-config", flags.speculative_config,
                  R"(speculation: '{"method": "ngram", "num_speculative_tokens": 5, )"
                  R"("prompt_lookup_max": 5, "prompt_lookup_min": 2}')");
}

Result<EngineOptions> engine_options(const EngineFlags& flags, const LoadedModel& loaded) {
  EngineOptions options = engine_options(loaded);
  apply(flags.memory, options);
  options.max_num_seqs = flags.max_num_seqs;
  options.max_num_batched_tokens = flags.max_num_batched_tokens;
  options.max_waiting = flags.max_queued_requests;
  options.enable_prefix_caching = flags.enable_prefix_caching;
  if (!flags.speculative_config.empty()) {
    TETRAD_ASSIGN(options.ngram, parse_speculative_config(flags.speculative_config));
  }
  return options;
}

std::string describe_capacity(const Engine& engine) {
  const EngineOptions& options = engine.options();
  const int64_t tokens = engine.num_kv_blocks() * kKvBlockSize;
  return fmt::format("KV cache: {} MiB, {} tokens: {:.1f} requests of {} tokens at once",
                     options.kv_memory.bytes >> 20, tokens,
                     static_cast<double>(tokens) / static_cast<double>(options.max_model_len),
                     options.max_model_len);
}

}  // namespace tetrad
