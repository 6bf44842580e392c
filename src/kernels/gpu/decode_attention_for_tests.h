#pragma once

// Decode's attention from queries, keys and values that are given as they are wanted.

#include <cmath>
#include <vector>

#include "base/dtype.h"
#include "kernels/gpu/gpu_test_util.h"
#include "kernels/gpu/paged_attention.h"

namespace tetrad::gpu::testing_gpu {

/// What a product has to give for attention to make of it, bit for bit, the queries `q` (halves,
/// [T, q_size]), the keys `k` and the values `v` (E4M3, [T, kv_size]).
inline std::vector<float> product_that_gives(const std::vector<uint16_t>& q,
                                             const std::vector<uint8_t>& k,
                                             const std::vector<uint8_t>& v, uint32_t num_tokens,
                                             float v_scale) {
  const size_t q_size = q.size() / num_tokens;
  const size_t kv_size = k.size() / num_tokens;
  std::vector<float> rows;
  for (size_t t = 0; t < num_tokens; ++t) {
    for (size_t i = 0; i < q_size; ++i)
      rows.push_back(f16_to_float(q[t * q_size + i]) / kE4m3Factor);
    for (size_t i = 0; i < kv_size; ++i)
      rows.push_back(f8_e4m3_to_float(k[t * kv_size + i]));
    for (size_t i = 0; i < kv_size; ++i)
      rows.push_back(f8_e4m3_to_float(v[t * kv_size + i]) * v_scale);
  }
  return rows;
}

/// The arguments with which it does so: an eps beside which no square counts, so that every norm
/// divides by 2^30, weights that undo it, and no rotation.
inline QkNormRopeArgs exact_norms(Emulation& gpu, const std::vector<float>& product,
                                  const std::vector<int64_t>& slots, uint32_t kv_size,
                                  const AttentionArgs& attention) {
  const auto q_size = static_cast<uint32_t>(product.size() / slots.size()) - 2 * kv_size;
  return {.qkv = gpu.copy(product),
          .square_sums = gpu.zeros<float>(product.size() / kSquareColumns),
          .q_norm = gpu.copy(std::vector<float>(q_size, 0x1p30f)),
          .k_norm = gpu.copy(std::vector<float>(kv_size, 0x1p30f)),
          .eps = 0x1p60f,
          .q_size = q_size,
          .kv_size = kv_size,
          .head_dim = q_size / attention.group / attention.num_kv_heads,
          .slot_mapping = gpu.copy(slots),
          .k_cache = const_cast<uint8_t*>(attention.k_cache),
          .v_cache = const_cast<uint8_t*>(attention.v_cache),
          .v_scale = attention.v_scale};
}

}  // namespace tetrad::gpu::testing_gpu
