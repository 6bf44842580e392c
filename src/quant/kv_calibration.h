#pragma once

// Scales for an FP8 KV cache, measured on a text.

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "checkpoint/kv_scales.h"
#include "model/minimax_m2.h"

namespace tetrad {

/// The largest magnitudes that went into the KV cache of one layer.
class KvRange {
 public:
  void see_keys(Activations keys);
  void see_values(Activations values);
  /// amax * 1.10 / C; 1 for what is all zero. Error: what is not finite, with `layer`.
  Result<KvScales> scales(int64_t layer) const;

 private:
  float k_ = 0;
  float v_ = 0;
};

/// Errors: no tokens, a window outside [1, max_position_embeddings].
Result<void> check_calibration_text(const ModelConfig& config, std::span<const int32_t> ids,
                                    int64_t window);

/// Runs `ids` in consecutive windows, each alone from position 0, with a cache that rounds nothing,
/// and gives each layer the scales amax * 1.10 / C, where amax is the largest magnitude of its keys
/// (after QK norm and RoPE) or its values, and C is 200 for keys and 100 for values (mxfp4_16 spec,
/// section 5). So what was seen ends at 182 and 91 of the 448 that E4M3 reaches, and other texts
/// may be some times as loud. A layer whose keys or values are all zero gets 1. Errors: no tokens,
/// ids outside the vocabulary, a window outside [1, max_position_embeddings], keys or values that
/// are not finite.
Result<std::vector<KvScales>> calibrate_kv_scales(MiniMaxM2& model, std::span<const int32_t> ids,
                                                  int64_t window);

}  // namespace tetrad
