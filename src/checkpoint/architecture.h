#pragma once

// The tensors of a MiniMax-M2 (minimax-m2 spec, section 2): what a loader needs, a quantizer
// converts and an inspection expects to find.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/config.h"

namespace tetrad {

enum class TensorRole : uint8_t {
  embedding,             // [vocab_size, hidden_size]
  lm_head,               // [vocab_size, hidden_size]
  norm,                  // a vector: hidden_size, or q_size / kv_size for the QK norm
  attention_projection,  // q, k, v, o
  router,                // [num_local_experts, hidden_size]
  routing_bias,          // [num_local_experts]
  expert_w1,             // gate, [intermediate_size, hidden_size]
  expert_w2,             // down, [hidden_size, intermediate_size]
  expert_w3,             // up, [intermediate_size, hidden_size]
};

std::string_view tensor_role_name(TensorRole role);

struct ExpectedTensor {
  /// A matrix: its module, to which the format adds suffixes ("lm_head" + ".weight").
  /// A vector: the tensor itself ("model.norm.weight").
  std::string name;
  TensorRole role = TensorRole::norm;
  int64_t rows = 0;
  int64_t cols = 1;  // 1 for a vector
  int64_t layer = -1;
  int64_t expert = -1;

  bool is_matrix() const { return role != TensorRole::norm && role != TensorRole::routing_bias; }
};

/// Everything the model consists of, in the order of the forward pass.
std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config);

/// Whether a name belongs to one of the config's multi-token-prediction layers, which follow the
/// ordinary ones and are skipped.
bool is_mtp_tensor(std::string_view name, const ModelConfig& config);

enum class KvScaleKind : uint8_t { key, value, both, other };

/// A scale of the FP8 attention of one layer; `other` are those of queries and probabilities.
struct KvScaleName {
  int64_t layer = 0;
  KvScaleKind kind = KvScaleKind::other;
};

/// Recognises the spellings of mxfp4_16 spec, section 5.
std::optional<KvScaleName> parse_kv_scale_name(std::string_view name);
/// The same, for the layers of this model alone.
std::optional<KvScaleName> parse_kv_scale_name(std::string_view name, const ModelConfig& config);

}  // namespace tetrad
