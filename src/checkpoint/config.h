#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace tetrad {

/// The architecture fields of a MiniMax-M2 config.json, under the file's own names.
/// Both spellings are read: the original (`rotary_dim`, `rope_theta`) and the transformers-5 form
/// (`rope_parameters.partial_rotary_factor`, `rope_parameters.rope_theta`).
struct ModelConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t intermediate_size = 0;  // width of one expert
  int64_t num_local_experts = 0;
  int64_t num_experts_per_tok = 0;
  int64_t rotary_dim = 0;  // leading dims of each head that are rotated
  double rope_theta = 0;
  double rms_norm_eps = 0;
  int64_t max_position_embeddings = 0;
  /// Layers model.layers.{num_hidden_layers + k}, k < num_mtp_modules, are drafts: not loaded.
  int64_t num_mtp_modules = 0;

  int64_t q_size() const { return num_attention_heads * head_dim; }
  int64_t kv_size() const { return num_key_value_heads * head_dim; }

  /// The whole file, for writing it back (quantizer) and for `quantization_config`.
  json::object raw;

  /// Refuses what this program would silently get wrong: linear-attention layers, per-head QK norm,
  /// softmax routing, a shared expert, tied embeddings, rope scaling, an unknown model_type; and
  /// sizes that are missing, negative, absurd or do not fit each other. Errors name the field.
  static Result<ModelConfig> parse(const json::value& config);
};

/// generation_config.json: defaults for requests that do not say. All fields optional in the file.
struct GenerationDefaults {
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<int64_t> top_k;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  std::optional<int64_t> max_new_tokens;
  std::vector<int32_t> eos_token_ids;  // a number or a list in the file

  static Result<GenerationDefaults> parse(const json::value& config);
};

}  // namespace tetrad
