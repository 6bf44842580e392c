#pragma once

// In which numbers a KV cache keeps its keys and values, and with which scales.

#include <optional>
#include <vector>

#include "base/dtype.h"
#include "base/error.h"
#include "checkpoint/kv_scales.h"

namespace tetrad {

struct KvCacheFormat {
  DType dtype = DType::bf16;     // F32, BF16 or F8_E4M3
  std::vector<KvScales> scales;  // one for each layer with F8_E4M3, else none
};

/// What `--kv-cache-dtype auto` means: F8_E4M3 where the checkpoint has scales for it or its
/// config.json asks for it, else BF16.
DType auto_kv_cache_dtype(const CheckpointKvScales& found);

/// The scales that a cache of `dtype` uses, in the form KvCache::create takes them: those of the
/// checkpoint, or `override_scale` (--kv-scale) for the keys and values of every layer. Errors:
/// F8_E4M3 where a layer has neither, an `override_scale` that is no positive number or that
/// nothing would use.
Result<std::vector<KvScales>> resolve_kv_scales(const CheckpointKvScales& found, DType dtype,
                                                std::optional<float> override_scale);

}  // namespace tetrad
