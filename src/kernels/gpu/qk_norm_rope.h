#pragma once

// Between the product that gives q, k and v and attention: one norm over all heads of q and one
// over all of k, the rotation, and the keys and values into the FP8 cache.

#include "kernels/gpu/rms_norm.h"

namespace tetrad::gpu {

/// A block a token. q_size and kv_size are multiples of 4.
struct QkNormRopeArgs {
  const float* qkv = nullptr;     // [T, q_size + 2 * kv_size]
  const float* q_norm = nullptr;  // [q_size]
  const float* k_norm = nullptr;  // [kv_size]
  float eps = 0;
  uint32_t q_size = 0;
  uint32_t kv_size = 0;
  uint32_t head_dim = 0;
  uint32_t rotary_dim = 0;
  const float* rotation = nullptr;        // [max positions, rotary_dim / 2, 2]: cosine and sine
  const int32_t* positions = nullptr;     // [T]
  const int64_t* slot_mapping = nullptr;  // [T]
  /// Softmax scale, log2(e), the cache's k_scale and kE4m3Factor (paged_attention.h) together:
  /// scores are exponents of two then.
  float q_factor = 1;
  uint16_t* q = nullptr;       // [T, q_size] halves
  uint8_t* k_cache = nullptr;  // E4M3 [blocks, kv_heads, 16, head_dim], x / k_scale
  uint8_t* v_cache = nullptr;
  float k_scale = 1;
  float v_scale = 1;
};

/// A token's q, k and v are few numbers and the launch is one of many: many threads, each with few
/// of them, wait for memory once.
inline constexpr uint32_t kRopeThreads = 1024;
inline constexpr uint32_t kRopeWarps = kRopeThreads / 32;
/// Loads of 16 bytes a thread makes of q and k together, which are at most 8192 numbers.
inline constexpr uint32_t kRopeLoads = 2;
constexpr uint32_t rope_shared_bytes(uint32_t q_size, uint32_t kv_size) {
  return (q_size + kv_size + 2 * kRopeWarps) * 4;
}

namespace TETRAD_MACHINE {

/// Element d of a head after the rotation.
TETRAD_DEVICE float rotated(const float* head, uint32_t d, const float* rotation,
                            uint32_t rotary_dim) {
  const uint32_t half = rotary_dim / 2;
  if (d >= rotary_dim) return head[d];
  const uint32_t pair = d % half;
  const float cosine = rotation[2 * pair];
  const float sine = rotation[2 * pair + 1];
  return d < half ? head[d] * cosine - head[d + half] * sine : head[d] * cosine + head[pair] * sine;
}

TETRAD_KERNEL(qk_norm_rope, QkNormRopeArgs, 1024) {
  float* values = reinterpret_cast<float*>(shared_memory());  // q, then k, normed
  float* scratch = values + args.q_size + args.kv_size;       // [2][kRopeWarps]
  const uint32_t size = args.q_size + args.kv_size;
  Words4 norms[kRopeLoads];
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kRopeLoads; ++i) {
    const uint32_t at = (i * kRopeThreads + thread_index()) * 4;
    if (at >= size) break;
    norms[i] = at < args.q_size
                   ? *reinterpret_cast<const Words4*>(args.q_norm + at)
                   : *reinterpret_cast<const Words4*>(args.k_norm + (at - args.q_size));
  }
  wait_for_launches_before();
  let_next_launch_begin();
  const uint32_t token = block_x();
  const uint64_t row = static_cast<uint64_t>(token) * (args.q_size + 2 * args.kv_size);
  const float* from = args.qkv + row;
  const int64_t slot = args.slot_mapping[token];
  const float* rotation =
      args.rotation + static_cast<uint64_t>(args.positions[token]) * args.rotary_dim;

  Words4 words[kRopeLoads];
  float squares_q = 0;
  float squares_k = 0;
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kRopeLoads; ++i) {
    const uint32_t at = (i * kRopeThreads + thread_index()) * 4;
    if (at >= size) break;
    words[i] = *reinterpret_cast<const Words4*>(from + at);
  }
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kRopeLoads; ++i) {
    const uint32_t at = (i * kRopeThreads + thread_index()) * 4;
    if (at >= size) break;
    float squares = 0;
    TETRAD_UNROLL
    for (uint32_t j = 0; j < 4; ++j) {
      const float value = __builtin_bit_cast(float, words[i].word[j]);
      squares = fused_multiply_add(value, value, squares);
    }
    if (at < args.q_size) {
      squares_q += squares;
    } else {
      squares_k += squares;
    }
  }
  squares_q = warp_sum(squares_q);
  squares_k = warp_sum(squares_k);
  if (lane() == 0) {
    scratch[warp()] = squares_q;
    scratch[kRopeWarps + warp()] = squares_k;
  }
  sync_block();
  const float sum_q = warp_sum(scratch[lane()]);
  const float sum_k = warp_sum(scratch[kRopeWarps + lane()]);
  const float inverse_q = inverse_rms(sum_q, args.q_size, args.eps);
  const float inverse_k = inverse_rms(sum_k, args.kv_size, args.eps);
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kRopeLoads; ++i) {
    const uint32_t at = (i * kRopeThreads + thread_index()) * 4;
    if (at >= size) break;
    const float inverse = at < args.q_size ? inverse_q : inverse_k;
    TETRAD_UNROLL
    for (uint32_t j = 0; j < 4; ++j)
      words[i].word[j] =
          __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, words[i].word[j]) * inverse *
                                           __builtin_bit_cast(float, norms[i].word[j]));
    *reinterpret_cast<Words4*>(values + at) = words[i];
  }
  sync_block();

  for (uint32_t i = thread_index() * 2; i < args.q_size; i += kRopeThreads * 2) {
    const uint32_t d = i % args.head_dim;
    const float* head = values + i - d;
    const float first = rotated(head, d, rotation, args.rotary_dim) * args.q_factor;
    const float second = rotated(head, d + 1, rotation, args.rotary_dim) * args.q_factor;
    *reinterpret_cast<uint32_t*>(args.q + static_cast<uint64_t>(token) * args.q_size + i) =
        floats_to_halves(first, second);
  }
  if (slot < 0) return;
  const uint32_t num_heads = args.kv_size / args.head_dim;
  for (uint32_t i = thread_index() * 2; i < args.kv_size; i += kRopeThreads * 2) {
    const uint32_t d = i % args.head_dim;
    const float* head = values + args.q_size + i - d;
    const uint64_t at = ((static_cast<uint64_t>(slot / 16) * num_heads + i / args.head_dim) * 16 +
                         static_cast<uint64_t>(slot % 16)) *
                            args.head_dim +
                        d;
    const uint32_t keys =
        floats_to_e4m3(divide(rotated(head, d, rotation, args.rotary_dim), args.k_scale),
                       divide(rotated(head, d + 1, rotation, args.rotary_dim), args.k_scale));
    *reinterpret_cast<uint16_t*>(args.k_cache + at) = static_cast<uint16_t>(keys);
    const float* v = from + args.q_size + args.kv_size + i;
    const uint32_t stored = floats_to_e4m3(divide(v[0], args.v_scale), divide(v[1], args.v_scale));
    *reinterpret_cast<uint16_t*>(args.v_cache + at) = static_cast<uint16_t>(stored);
  }
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
