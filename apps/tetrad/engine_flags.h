#pragma once

// The flags that size the engine: places, tokens, KV memory, prefix cache, speculation.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "engine/engine.h"
#include "loaded_model.h"

namespace tetrad {

/// How long a sequence may be, and in which memory it lies.
struct MemoryFlags {
  int64_t max_model_len = 0;     // 0: the model's
  uint64_t kv_cache_memory = 0;  // bytes; 0: not given
  std::optional<double> memory_utilization;
};

/// --max-model-len, --kv-cache-memory, --gpu-memory-utilization: for every verb with an engine.
void add_memory_flags(CLI::App& verb, MemoryFlags& flags);
void add_max_model_len_flag(CLI::App& verb, int64_t& max_model_len);

/// Lays them over what the model decides.
void apply(const MemoryFlags& flags, EngineOptions& options);

struct EngineFlags {
  MemoryFlags memory;
  int64_t max_num_seqs = EngineOptions{}.max_num_seqs;
  int64_t max_num_batched_tokens = EngineOptions{}.max_num_batched_tokens;
  int64_t max_queued_requests = EngineOptions{}.max_waiting;
  bool enable_prefix_caching = true;
  std::string speculative_config;
};

/// The flags must outlive the parsing.
void add_engine_flags(CLI::App& verb, EngineFlags& flags);

/// The flags' effect. Errors name the flag.
Result<EngineOptions> engine_options(const EngineFlags& flags, const LoadedModel& loaded);

/// "KV cache: 1024 MiB …": what the engine can hold, for the log.
std::string describe_capacity(const Engine& engine);

}  // namespace tetrad
