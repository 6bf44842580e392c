#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/page_memory.h"
#include "checkpoint/config.h"
#include "checkpoint/kv_scales.h"
#include "kernels/batch.h"

namespace tetrad {

/// The memory of the paged KV cache, all layers. Which block belongs to whom is the engine's
/// business; here a block is an index.
class KvCache {
 public:
  /// dtype: F32 or BF16, or F8_E4M3 with `scales` of every layer (resolve_kv_scales).
  static Result<KvCache> create(const ModelConfig& config, DType dtype, int64_t num_blocks,
                                std::span<const KvScales> scales = {});

  /// Bytes one block takes over all layers, keys and values.
  static int64_t block_bytes(const ModelConfig& config, DType dtype);

  const KvCacheLayer& layer(int64_t index) const { return layers_[static_cast<size_t>(index)]; }
  int64_t num_blocks() const { return num_blocks_; }
  DType dtype() const { return dtype_; }

 private:
  PageMemory memory_;
  std::vector<KvCacheLayer> layers_;
  int64_t num_blocks_ = 0;
  DType dtype_ = DType::f32;
};

}  // namespace tetrad
