#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/field_reader.h"
#include "engine/request.h"

namespace tetrad::api {

/// Sampling as a request states it; what is absent is left to the defaults.
struct SamplingRequest {
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<int64_t> top_k;
  std::optional<int64_t> seed;
  std::optional<int64_t> max_tokens;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_token_ids;
  bool ignore_eos = false;
  bool skip_special_tokens = true;
};

/// What the model's makers recommend (generation_config.json, with --override-generation-config
/// over it).
struct SamplingDefaults {
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<int64_t> top_k;
  std::optional<int64_t> max_tokens;
};

Result<SamplingRequest> read_sampling(FieldReader& fields);

/// Lays the fields of --override-generation-config, spelt as in generation_config.json
/// (max_new_tokens), over `defaults`. A field unknown here is an error: a default that does
/// nothing would go unnoticed.
Result<void> override_defaults(SamplingDefaults& defaults, const json::object& config);

/// The request's word, else the model's default, else the OpenAI API's (temperature 1, top_p 1).
SamplingParams resolve(const SamplingRequest& request, const SamplingDefaults& defaults);

}  // namespace tetrad::api
