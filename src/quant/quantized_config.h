#pragma once

#include "base/json.h"

namespace tetrad {

/// config.json of the quantized checkpoint (mxfp4_16 spec, section 4.1): that of the source with
/// `quantization_config` in the place of whatever stood there. `has_kv_scales`: the checkpoint
/// carries scales for an FP8 KV cache.
json::object quantized_config(const json::object& source_config, bool has_kv_scales);

}  // namespace tetrad
