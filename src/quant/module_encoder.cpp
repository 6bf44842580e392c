#include "quant/module_encoder.h"

#include <bit>
#include <utility>

namespace tetrad {

Result<EncodedMatrix> PlainEncoder::encode(const PlannedModule& module, const WeightMatrix& source,
                                           ThreadPool& pool) {
  return encode_matrix(module.name, source, {.format = module.format, .search = search_}, {}, pool);
}

Result<KvScales> PlainEncoder::kv_scales(int64_t layer) {
  if (layer < 0 || !std::cmp_less(layer, kv_scales_.size())) {
    return fail(ErrorCode::internal, "there are no KV scales for layer {}", layer);
  }
  return kv_scales_[static_cast<size_t>(layer)];
}

json::object PlainEncoder::identity() const {
  json::object identity{{"scale_search", scale_search_name(search_)}};
  if (kv_scales_.empty()) return identity;
  json::array& scales = identity["kv_scales"].emplace_array();
  for (const KvScales& layer : kv_scales_)
    scales.push_back(json::array{double{layer.k}, double{layer.v}});
  return identity;
}

}  // namespace tetrad
