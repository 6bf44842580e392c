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

namespace tetrad {

/// Stays together in one shard.
struct PlannedModule {
  std::string name;
  TensorRole role = TensorRole::norm;  // of a matrix to quantize
  /// The weights to quantize; nothing where the tensors are carried over as they are.
  std::optional<WeightMatrix> source;
  std::vector<std::string> carried_tensors;
  int64_t bytes = 0;  // to be written
  /// Newly measured KV scales of this layer are to be written under the names of the module.
  std::optional<int64_t> kv_scales_of_layer{};
};

/// Where the scales of an FP8 KV cache come from.
enum class KvScalesFrom : uint8_t {
  source,       // carried over, if there are any
  calibration,  // measured anew; those of the source are dropped
};

struct PlannedShard {
  std::vector<PlannedModule> modules;
  int64_t bytes = 0;
};

struct QuantizePlan {
  std::vector<PlannedShard> shards;
  int64_t quantized_matrices = 0;
  int64_t quantized_parameters = 0;
  int64_t carried_tensors = 0;
  int64_t carried_parameters = 0;
  int64_t source_bytes = 0;  // of all tensors of the source
  int64_t bytes = 0;         // of all tensors to be written
  /// Tensors that this program does not know, carried over too.
  std::vector<std::string> unknown_tensors;
  /// The result has scales for an FP8 KV cache: the source's, which stay valid, or new ones.
  bool has_kv_scales = false;
  int64_t measured_kv_scales = 0;  // one parameter each
};

/// Attention projections and experts are quantized; embedding, head, norms, router and routing
/// bias are carried over, and so is whatever else the source holds (layers for multi-token
/// prediction, KV scales, unknown tensors). Modules are in the order of the forward pass, and a new
/// shard begins where one would exceed `max_shard_bytes` (a larger module has one of its own).
/// Refuses a source that misses a tensor, has mxfp4_16 modules already, or has rows that are no
/// multiple of 16.
Result<QuantizePlan> plan_quantization(const Checkpoint& source, int64_t max_shard_bytes,
                                       KvScalesFrom kv_scales = KvScalesFrom::source);

}  // namespace tetrad
