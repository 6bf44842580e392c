#pragma once

// A checkpoint folder of a one-layer model, small enough to be damaged on purpose.

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/checked_math.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"

namespace tetrad {

inline void write_test_file(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// A path of this test's own, also when several test programs run at once.
inline std::filesystem::path folder_of_this_test() {
  const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
  return std::filesystem::path(testing::TempDir()) /
         fmt::format("tetrad_{}_{}_{}", test->test_suite_name(), test->name(), ::getpid());
}

/// config.json and the tensors of a complete model: 1 layer, hidden size 32, 2 heads and 1 KV head
/// of 16, 2 experts of width 16, vocabulary 8; BF16 zeros, the routing bias F32. Change what the
/// test is about, then write.
class TinyCheckpoint {
 public:
  struct Tensor {
    DType dtype = DType::bf16;
    std::vector<int64_t> shape;
    std::string bytes;
  };

  TinyCheckpoint() {
    config = parse_json(R"({"model_type": "minimax_m2", "vocab_size": 8, "hidden_size": 32,
      "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
      "intermediate_size": 16, "num_local_experts": 2, "num_experts_per_tok": 1, "rotary_dim": 8,
      "rope_theta": 10000, "rms_norm_eps": 1e-6, "max_position_embeddings": 64})")
                 ->as_object();
    add_zeros("model.embed_tokens.weight", DType::bf16, {8, 32});
    add_zeros("model.norm.weight", DType::bf16, {32});
    add_zeros("lm_head.weight", DType::bf16, {8, 32});
    const std::string layer = "model.layers.0.";
    add_zeros(layer + "input_layernorm.weight", DType::bf16, {32});
    add_zeros(layer + "post_attention_layernorm.weight", DType::bf16, {32});
    add_zeros(layer + "self_attn.q_proj.weight", DType::bf16, {32, 32});
    add_zeros(layer + "self_attn.k_proj.weight", DType::bf16, {16, 32});
    add_zeros(layer + "self_attn.v_proj.weight", DType::bf16, {16, 32});
    add_zeros(layer + "self_attn.o_proj.weight", DType::bf16, {32, 32});
    add_zeros(layer + "self_attn.q_norm.weight", DType::bf16, {32});
    add_zeros(layer + "self_attn.k_norm.weight", DType::bf16, {16});
    add_zeros(layer + "block_sparse_moe.gate.weight", DType::bf16, {2, 32});
    add_zeros(layer + "block_sparse_moe.e_score_correction_bias", DType::f32, {2});
    for (const char* expert : {"0", "1"}) {
      const std::string prefix = layer + "block_sparse_moe.experts." + expert;
      add_zeros(prefix + ".w1.weight", DType::bf16, {16, 32});
      add_zeros(prefix + ".w2.weight", DType::bf16, {32, 16});
      add_zeros(prefix + ".w3.weight", DType::bf16, {16, 32});
    }
  }

  json::object config;
  std::map<std::string, Tensor> tensors;

  void add_zeros(const std::string& name, DType dtype, std::vector<int64_t> shape) {
    const size_t bytes = *checked_num_elements(shape) * dtype_size(dtype);
    tensors[name] = {dtype, std::move(shape), std::string(bytes, '\0')};
  }

  /// Replaces `<module>.weight` by tensors of the given names.
  void replace_weight(const std::string& module,
                      const std::vector<std::pair<std::string, Tensor>>& replacements) {
    tensors.erase(module + ".weight");
    for (const auto& [suffix, tensor] : replacements)
      tensors[module + "." + suffix] = tensor;
  }

  static Tensor filled(DType dtype, std::vector<int64_t> shape, std::string_view element) {
    Tensor tensor{dtype, std::move(shape), ""};
    for (uint64_t i = 0; i < *checked_num_elements(tensor.shape); ++i)
      tensor.bytes += element;
    return tensor;
  }

  /// Empties the folder and writes config.json and model.safetensors.
  void write(const std::filesystem::path& folder) const {
    start(folder);
    write_shard(folder / "model.safetensors", [](const std::string&) { return true; });
  }

  /// Empties the folder and writes config.json, an index, and two shards cut before `first_of_b`.
  void write_sharded(const std::filesystem::path& folder, const std::string& first_of_b) const {
    start(folder);
    const auto in_a = [&](const std::string& name) { return name < first_of_b; };
    write_shard(folder / "a.safetensors", in_a);
    write_shard(folder / "b.safetensors", [&](const std::string& name) { return !in_a(name); });
    json::object weight_map;
    for (const auto& [name, tensor] : tensors)
      weight_map[name] = in_a(name) ? "a.safetensors" : "b.safetensors";
    write_test_file(folder / "model.safetensors.index.json",
                    to_json_text(json::object{{"weight_map", std::move(weight_map)}}));
  }

 private:
  void start(const std::filesystem::path& folder) const {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    write_test_file(folder / "config.json", to_json_text(config));
  }

  template <class Choose>
  void write_shard(const std::filesystem::path& path, Choose choose) const {
    std::vector<TensorToWrite> chosen;
    for (const auto& [name, tensor] : tensors) {
      if (!choose(name)) continue;
      chosen.push_back({name, tensor.dtype, tensor.shape, std::as_bytes(std::span(tensor.bytes))});
    }
    const auto written = write_safetensors(path, chosen);
    ASSERT_TRUE(written) << written.error().message;
  }
};

/// Writes `tiny` to the folder and reads the module, which must fail with an error that says all of
/// that.
inline void expect_matrix_fails(const std::filesystem::path& folder, const TinyCheckpoint& tiny,
                                const std::string& module, int64_t rows, int64_t cols,
                                std::initializer_list<std::string_view> said) {
  tiny.write(folder);
  const auto checkpoint = Checkpoint::open(folder);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const auto matrix = checkpoint->matrix(module, rows, cols);
  ASSERT_FALSE(matrix) << module;
  for (const std::string_view text : said)
    EXPECT_THAT(matrix.error().message, testing::HasSubstr(text));
}

}  // namespace tetrad
