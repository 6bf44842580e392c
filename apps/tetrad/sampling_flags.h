#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>

#include "checkpoint/config.h"
#include "engine/request.h"

namespace tetrad {

/// Sampling as the command line gives it; what it does not say comes from the model's
/// generation_config.json.
struct SamplingFlags {
  std::optional<float> temperature;
  std::optional<int64_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<int64_t> seed;        // -1: a random one, as in the API
  std::optional<int64_t> max_tokens;  // 0: what the context allows
  std::vector<std::string> stop;

  SamplingParams resolve(const GenerationDefaults& defaults) const;
};

/// --temperature, --top-k, --top-p, --min-p, --seed, --max-tokens, --stop.
void add_sampling_flags(CLI::App& verb, SamplingFlags& flags);

}  // namespace tetrad
