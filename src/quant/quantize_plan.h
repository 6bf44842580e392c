#pragma once

// What `tetrad quantize` will write, decided from the headers of the source before any weight is
// read: errors of layout come at once and not after hours.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/architecture.h"
#include "checkpoint/checkpoint.h"
#include "quant/encode_matrix.h"

namespace tetrad {

/// The unit of work: what a stopped run repeats at most. Stays together in one shard.
struct PlannedModule {
  std::string name;
  TensorRole role = TensorRole::norm;
  int64_t layer = -1;   // -1 outside the layers and for what is not of the model
  int64_t expert = -1;  // -1 for what belongs to no expert

  /// The weights to encode and their format to be; nothing where tensors are carried over as they
  /// are or KV scales are written.
  std::optional<WeightMatrix> source;
  TargetFormat format = TargetFormat::bf16;
  /// Newly measured KV scales of `layer` are to be written under the names of the module.
  bool measures_kv_scales = false;
  /// Values that are not finite are an error: the tensor is one of the model's own weights.
  bool must_be_finite = false;

  /// Of the source: what the module is made from.
  std::vector<std::string> source_tensors;
  /// What is written, in this order; for carried tensors that of source_tensors.
  std::vector<TensorHeader> tensors;
  int64_t bytes = 0;  // of `tensors`

  int64_t parameters() const { return source ? source->rows * source->cols : 0; }
};

struct PlannedShard {
  std::vector<PlannedModule> modules;
  int64_t bytes = 0;
};

/// Tensors or matrices of one fate.
struct PlannedPart {
  int64_t count = 0;
  int64_t parameters = 0;
  int64_t bytes = 0;  // to be written
};

struct PlanOptions {
  TargetFormat format = TargetFormat::mxfp4_16;
  int64_t max_shard_bytes = 0;
  /// Patterns (quant/name_pattern.h) of modules that stay dense.
  std::vector<std::string> keep;
  /// KV scales are measured anew; those of the source are dropped.
  bool measures_kv_scales = false;
};

struct QuantizePlan {
  std::vector<PlannedShard> shards;
  PlannedPart quantized;     // matrices in the wanted format
  PlannedPart dequantized;   // matrices that become BF16, where that is not the wanted format
  PlannedPart carried;       // tensors
  PlannedPart kv_scales;     // measured
  int64_t source_bytes = 0;  // of all tensors of the source
  int64_t bytes = 0;         // of all tensors to be written
  /// Tensors that this program does not know, carried over too.
  std::vector<std::string> unknown_tensors;
  /// Modules that only stay dense because a pattern says so, in the order of the forward pass.
  std::vector<std::string> kept_modules;
  /// The result has scales for an FP8 KV cache: the source's, which stay valid, or new ones.
  bool has_kv_scales = false;

  int64_t num_modules() const;
};

/// Attention projections and experts are encoded, but for those that a pattern keeps; of these and
/// of embedding, head and router, what is dense is carried over, what is quantized becomes BF16.
/// Norms and routing bias are carried over, and so is whatever else the source holds (layers for
/// multi-token prediction, KV scales, unknown tensors). With bf16 as the wanted format everything
/// that can be read becomes or stays dense. Modules are in the order of the forward pass, and a new
/// shard begins where one would exceed `max_shard_bytes` (a larger module has one of its own).
/// Refuses a source that misses a tensor, that has modules in the wanted format already which no
/// pattern keeps (those are carried over), or rows that the format cannot cut into its groups, and
/// a pattern that matches no module.
Result<QuantizePlan> plan_quantization(const Checkpoint& source, const PlanOptions& options);

}  // namespace tetrad
