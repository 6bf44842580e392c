#pragma once

// A MiniMax-M2 checkpoint of a few KB with random weights, for tests.

#include <cstring>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/dtype.h"

namespace tetrad::random_model_for_tests {

/// config.json without its closing brace, so that a test can add members.
inline constexpr std::string_view kConfig = R"({
  "architectures": ["MiniMaxM2ForCausalLM"], "model_type": "minimax_m2",
  "vocab_size": 24, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
  "num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 48, "num_local_experts": 2,
  "num_experts_per_tok": 1, "rotary_dim": 8, "rope_theta": 5000000, "rms_norm_eps": 1e-6,
  "max_position_embeddings": 64, "scoring_func": "sigmoid", "use_qk_norm": true,
  "qk_norm_type": "per_layer", "use_routing_bias": true, "num_mtp_modules": 1,
  "tie_word_embeddings": false, "hidden_act": "silu", "dtype": "bfloat16")";

struct Tensor {
  DType dtype = DType::bf16;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};

using Tensors = std::map<std::string, Tensor>;

template <class T>
void append(std::vector<std::byte>& bytes, T value) {
  const size_t at = bytes.size();
  bytes.resize(at + sizeof value);
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

inline Tensor random_tensor(DType dtype, std::vector<int64_t> shape, std::mt19937& random) {
  Tensor tensor{dtype, std::move(shape), {}};
  std::normal_distribution<float> normal(0.0f, 0.02f);
  int64_t count = 1;
  for (const int64_t dim : tensor.shape)
    count *= dim;
  for (int64_t i = 0; i < count; ++i) {
    const float value = normal(random);
    if (dtype == DType::f32) append(tensor.bytes, value);
    if (dtype == DType::bf16) append(tensor.bytes, float_to_bf16(value));
    if (dtype == DType::f16) append(tensor.bytes, float_to_f16(value));
    // Codes up to 0x7E: finite, both signs.
    if (dtype == DType::f8_e4m3)
      append(tensor.bytes, static_cast<uint8_t>(random() % 0x7F | (random() & 0x80u)));
  }
  return tensor;
}

/// Names and shapes written out by hand (minimax-m2 spec, section 2), for the sizes of kConfig.
inline Tensors random_model(DType weights = DType::bf16) {
  std::mt19937 random(21);
  const DType dense = weights == DType::f8_e4m3 ? DType::bf16 : weights;
  Tensors model;
  model["model.embed_tokens.weight"] = random_tensor(dense, {24, 32}, random);
  model["lm_head.weight"] = random_tensor(dense, {24, 32}, random);
  model["model.norm.weight"] = random_tensor(dense, {32}, random);
  const auto add_linear = [&](const std::string& module, int64_t rows, int64_t cols) {
    model[module + ".weight"] = random_tensor(weights, {rows, cols}, random);
    if (weights != DType::f8_e4m3) return;
    model[module + ".weight_scale_inv"] = random_tensor(DType::f32, {1, 1}, random);
  };
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    model[layer + "input_layernorm.weight"] = random_tensor(dense, {32}, random);
    model[layer + "post_attention_layernorm.weight"] = random_tensor(dense, {32}, random);
    add_linear(layer + "self_attn.q_proj", 32, 32);
    add_linear(layer + "self_attn.k_proj", 16, 32);
    add_linear(layer + "self_attn.v_proj", 16, 32);
    add_linear(layer + "self_attn.o_proj", 32, 32);
    model[layer + "self_attn.q_norm.weight"] = random_tensor(dense, {32}, random);
    model[layer + "self_attn.k_norm.weight"] = random_tensor(dense, {16}, random);
    const std::string moe = layer + "block_sparse_moe.";
    model[moe + "gate.weight"] = random_tensor(DType::f32, {2, 32}, random);
    model[moe + "e_score_correction_bias"] = random_tensor(DType::f32, {2}, random);
    for (const std::string expert : {"experts.0.", "experts.1."}) {
      add_linear(moe + expert + "w1", 48, 32);
      add_linear(moe + expert + "w3", 48, 32);
      add_linear(moe + expert + "w2", 32, 48);
    }
  }
  return model;
}

/// In random_model(): two layers of q, k, v, o and of two experts.
inline constexpr int kQuantizedMatrices = 2 * (4 + 2 * 3);

}  // namespace tetrad::random_model_for_tests
