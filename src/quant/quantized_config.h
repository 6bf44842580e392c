#pragma once

#include <span>
#include <string>

#include "base/json.h"
#include "quant/encode_matrix.h"

namespace tetrad {

struct QuantizedConfigOptions {
  TargetFormat format = TargetFormat::mxfp4_16;
  /// The checkpoint carries scales for an FP8 KV cache.
  bool has_kv_scales = false;
  /// Modules that would be quantized and are not, by name.
  std::span<const std::string> kept_modules;
};

/// config.json of the quantized checkpoint: that of the source with the `quantization_config` of
/// the format in the place of whatever stood there: mxfp4_16 spec, section 4.1; for mxfp4 and nvfp4
/// what compressed-tensors writes (section 7), for fp8_block what Hugging Face does (section 7.5).
/// A bf16 checkpoint has none, and its data type is bfloat16.
json::object quantized_config(const json::object& source_config,
                              const QuantizedConfigOptions& options);

}  // namespace tetrad
