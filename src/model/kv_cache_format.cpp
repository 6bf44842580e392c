#include "model/kv_cache_format.h"

#include <cmath>

namespace tetrad {
namespace {

/// Why there are no scales: what was wrong with the first of those that there are, if any.
std::string first_warning(const CheckpointKvScales& found) {
  return found.warnings.empty() ? "" : " (" + found.warnings.front() + ")";
}

tl::unexpected<Error> missing_scales(const CheckpointKvScales& found) {
  return fail_param("--kv-cache-dtype",
                    "--kv-cache-dtype fp8_e4m3 needs a scale for the keys and values of every "
                    "layer, and the checkpoint has those of {} of its {} layers{}; measure them "
                    "(tetrad quantize --calibration), give --kv-scale 1.0 to do without, or use "
                    "--kv-cache-dtype bf16, which --device cpu has",
                    found.num_layers_with_scales(), found.layers.size(), first_warning(found));
}

}  // namespace

DType auto_kv_cache_dtype(const CheckpointKvScales& found) {
  return found.announced || found.num_layers_with_scales() > 0 ? DType::f8_e4m3 : DType::bf16;
}

Result<std::vector<KvScales>> resolve_kv_scales(const CheckpointKvScales& found, DType dtype,
                                                std::optional<float> override_scale) {
  if (override_scale && !(std::isfinite(*override_scale) && *override_scale > 0)) {
    return fail_param("--kv-scale", "--kv-scale {} is no positive number", *override_scale);
  }
  if (dtype != DType::f8_e4m3) {
    if (!override_scale) return {};
    return fail_param("--kv-scale",
                      "--kv-scale belongs to --kv-cache-dtype fp8_e4m3; this cache holds {}, which "
                      "has no scales",
                      dtype_name(dtype));
  }
  std::vector<KvScales> scales;
  for (const std::optional<KvScales>& layer : found.layers) {
    if (!layer && !override_scale) return missing_scales(found);
    scales.push_back(override_scale ? KvScales{*override_scale, *override_scale} : *layer);
  }
  return scales;
}

}  // namespace tetrad
