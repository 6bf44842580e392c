#include "model/kv_cache.h"

#include <cmath>
#include <utility>

#include "base/checked_math.h"

namespace tetrad {
namespace {

bool usable(float scale) {
  return std::isfinite(scale) && scale > 0;
}

Result<void> check_format(const ModelConfig& config, DType dtype,
                          std::span<const KvScales> scales) {
  if (dtype != DType::f32 && dtype != DType::bf16 && dtype != DType::f8_e4m3) {
    return fail(ErrorCode::unsupported,
                "a KV cache of {} is not supported; use F32, BF16 or F8_E4M3", dtype_name(dtype));
  }
  const int64_t wanted = dtype == DType::f8_e4m3 ? config.num_hidden_layers : 0;
  if (!std::cmp_equal(scales.size(), wanted)) {
    return fail(ErrorCode::invalid_argument,
                "a KV cache of {} over {} layers takes the scales of {} layers, not of {}",
                dtype_name(dtype), config.num_hidden_layers, wanted, scales.size());
  }
  for (const KvScales& layer : scales) {
    if (usable(layer.k) && usable(layer.v)) continue;
    return fail(ErrorCode::invalid_argument, "KV scales must be positive, not {} and {}", layer.k,
                layer.v);
  }
  return {};
}

}  // namespace

int64_t KvCache::block_bytes(const ModelConfig& config, DType dtype) {
  return 2 * config.num_hidden_layers * config.kv_size() * kKvBlockSize *
         static_cast<int64_t>(dtype_size(dtype));
}

Result<KvCache> KvCache::create(const ModelConfig& config, DType dtype, int64_t num_blocks,
                                std::span<const KvScales> scales) {
  TETRAD_TRY(check_format(config, dtype, scales));
  const auto total = checked_mul(static_cast<uint64_t>(num_blocks),
                                 static_cast<uint64_t>(block_bytes(config, dtype)));
  if (num_blocks <= 0 || !total) {
    return fail(ErrorCode::invalid_argument, "a KV cache of {} blocks is not possible", num_blocks);
  }
  auto memory = PageMemory::allocate(static_cast<int64_t>(*total));
  if (!memory) {
    return fail(ErrorCode::resource_exhausted,
                "cannot reserve {} MiB for {} KV blocks; use shorter or fewer sequences",
                *total >> 20, num_blocks);
  }
  KvCache cache;
  cache.memory_ = std::move(*memory);
  cache.num_blocks_ = num_blocks;
  cache.dtype_ = dtype;
  const int64_t half_layer =
      num_blocks * config.kv_size() * kKvBlockSize * static_cast<int64_t>(dtype_size(dtype));
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    std::byte* k = cache.memory_.data() + 2 * layer * half_layer;
    const KvScales scale = scales.empty() ? KvScales{} : scales[static_cast<size_t>(layer)];
    cache.layers_.push_back(KvCacheLayer{.dtype = dtype,
                                         .k_scale = scale.k,
                                         .v_scale = scale.v,
                                         .k = k,
                                         .v = k + half_layer,
                                         .num_blocks = num_blocks,
                                         .num_kv_heads = config.num_key_value_heads,
                                         .head_dim = config.head_dim});
  }
  return cache;
}

}  // namespace tetrad
