#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/dialect.h"
#include "api/field_reader.h"
#include "engine/request.h"

namespace tetrad::api {

/// Sampling as a request states it; what is absent is left to the defaults.
struct SamplingRequest {
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<int64_t> top_k;
  std::optional<double> repetition_penalty;
  std::optional<double> frequency_penalty;
  std::optional<double> presence_penalty;
  std::vector<LogitBias> logit_bias;
  std::vector<TokenId> allowed_token_ids;
  std::vector<std::string> bad_words;
  std::optional<int64_t> seed;
  std::optional<int64_t> max_tokens;
  std::optional<int64_t> min_tokens;
  std::vector<std::string> stop;
  bool include_stop_str_in_output = false;
  std::vector<TokenId> stop_token_ids;
  bool ignore_eos = false;
  bool skip_special_tokens = true;
  std::optional<int64_t> logprobs;
  std::optional<int64_t> prompt_logprobs;
};

/// What the model's makers recommend (generation_config.json, with --override-generation-config
/// over it).
struct SamplingDefaults {
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<int64_t> top_k;
  std::optional<double> repetition_penalty;
  std::optional<int64_t> max_tokens;
};

/// A stop string or several, in the field `name`.
Result<std::vector<std::string>> read_stop(FieldReader& fields, std::string_view name);

/// The dialects differ in how they ask for log probabilities.
Result<SamplingRequest> read_sampling(FieldReader& fields, Dialect dialect);

/// Lays the fields of --override-generation-config, spelt as in generation_config.json
/// (max_new_tokens), over `defaults`. A field unknown here is an error: a default that does
/// nothing would go unnoticed.
Result<void> override_defaults(SamplingDefaults& defaults, const json::object& config);

/// The request's word, else the model's default, else the OpenAI API's (temperature 1, top_p 1).
/// Leaves bad_words out: only a tokenizer knows their tokens.
SamplingParams resolve(const SamplingRequest& request, const SamplingDefaults& defaults);

}  // namespace tetrad::api
