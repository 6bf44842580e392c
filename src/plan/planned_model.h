#pragma once

// The weights of a model as a plan sees them: classes of equal tensors, which need no more than a
// config.json to be known.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "checkpoint/architecture.h"
#include "checkpoint/checkpoint.h"

namespace tetrad::plan {

/// What tensor parallelism cuts a tensor by. Rows are outputs, columns are inputs of the matrix.
enum class Split : uint8_t {
  none,            // whole on each rank: norms, router
  vocabulary,      // rows of embedding and head
  heads,           // rows of q_proj, elements of q_norm
  kv_heads,        // rows of k_proj and v_proj, elements of k_norm
  head_columns,    // columns of o_proj
  expert_rows,     // rows of w1 and w3 (intermediate_size)
  expert_columns,  // columns of w2 (intermediate_size)
};

/// What a tensor is in a table of memory.
enum class MemoryKind : uint8_t { experts, attention, embeddings, router_and_norms };
inline constexpr size_t kNumMemoryKinds = 4;

std::string_view memory_kind_name(MemoryKind kind);

/// Tensors of the same name in different layers and experts, of one format and shape.
struct WeightClass {
  std::string name;  // "model.layers.*.block_sparse_moe.experts.*.w1"
  TensorRole role = TensorRole::norm;
  Split split = Split::none;
  WeightFormat format = WeightFormat::bf16;
  int64_t rows = 0;
  int64_t cols = 1;  // 1 for a vector
  int64_t count = 0;
  /// Bytes of one tensor where the format alone does not say them; 0: it does.
  int64_t stored_bytes = 0;

  bool is_expert() const { return split == Split::expert_rows || split == Split::expert_columns; }
  bool is_matrix() const { return role != TensorRole::norm && role != TensorRole::routing_bias; }
  MemoryKind kind() const;
  int64_t parameters() const { return rows * cols * count; }
  int64_t bytes() const;
};

/// Bytes of one tensor, scales included, of a format whose scales have one layout.
int64_t tensor_bytes(WeightFormat format, int64_t rows, int64_t cols);

/// The formats to assume where there is a config.json and no tensors. Embedding, head and norms are
/// BF16, the routing bias is F32 (mxfp4_16 spec, section 2.2).
struct AssumedFormats {
  /// Experts, and attention unless it has its own: mxfp4_16 (the default), fp8_block or bf16.
  /// With fp8_block the router is F32, as the vendor's checkpoints have it (minimax-m2 spec,
  /// section 2.2); otherwise it is BF16.
  std::optional<WeightFormat> weights;
  std::optional<WeightFormat> attention;
};

struct PlannedModel {
  std::string source;  // the path it was read from
  ModelConfig config;
  std::vector<WeightClass> weights;
  /// Formats were assumed, not read from tensors.
  bool assumed = false;
  /// Each layer has scales for keys and values, so an FP8 cache is possible without further ado.
  bool has_kv_scales = false;
  /// Bytes of tensors in the files that are not loaded: multi-token prediction, unknown names.
  int64_t skipped_bytes = 0;

  int64_t parameters() const;
  int64_t weight_bytes() const;
};

/// From the tensors; an error names the tensor.
Result<PlannedModel> planned_model(const Checkpoint& checkpoint);

/// From the config alone. Refuses sizes that the assumed format cannot hold.
Result<PlannedModel> planned_model(const ModelConfig& config, const AssumedFormats& assumed);

/// `path`: a checkpoint folder, a config.json, or a folder that holds one and no weights.
Result<PlannedModel> open_planned_model(const std::filesystem::path& path,
                                        const AssumedFormats& assumed);

}  // namespace tetrad::plan
