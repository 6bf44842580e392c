#pragma once

#include <string>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/weight.h"

namespace tetrad {

/// What `quantization_config` of config.json adds to the tensors. It never decides the format of a
/// module: the tensors present do (mxfp4_16 spec, section 6).
struct QuantizationConfig {
  /// Lower case, '-' as '_'; "" where the model is not quantized.
  std::string quant_method;
  /// The one 16-entry `codebook` list anywhere in the object, else IQ4_NL.
  Codebook codebook = kIq4NlCodebook;
  /// `nibble_order` "low_first" (the default) or "high_first", of the formats with two codes a
  /// byte.
  NibbleOrder nibble_order = NibbleOrder::low_first;
  /// The KV cache is meant to be FP8: `kv_cache_scheme` of compressed-tensors (8-bit float) or
  /// `kv_cache_quant_algo` "FP8" of ModelOpt.
  bool fp8_kv_cache = false;

  /// `model_config` is the whole config.json. Refuses what would be read wrongly without a sound:
  /// an unknown method, rotated weights, an FP8 block that is not 128x128, an unknown order of
  /// nibbles or two of them, a codebook that is not 16 integers of 8 bits, or two that differ.
  static Result<QuantizationConfig> parse(const json::object& model_config);
};

}  // namespace tetrad
