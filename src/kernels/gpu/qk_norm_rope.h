#pragma once

// Between the product that gives q, k and v and attention: one norm over all heads of q and one
// over all of k, the rotation, and the keys and values into the FP8 cache. A launch for the
// tokens of a step with a prompt; of sequences with one token, attention does the same for the
// heads it needs (paged_attention.h).

#include "kernels/gpu/rms_norm.h"

namespace tetrad::gpu {

inline constexpr uint32_t kKvBlock = 16;  // kKvBlockSize of kernels/batch.h

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
  /// Softmax scale, log2(e) and the cache's k_scale together: scores are exponents of two then.
  float q_factor = 1;
  uint16_t* q = nullptr;       // [T, q_size] halves
  uint8_t* k_cache = nullptr;  // E4M3 [blocks, kv_heads, 16, head_dim], x / k_scale
  uint8_t* v_cache = nullptr;
  float k_scale = 1;
  float v_scale = 1;
  /// Where other ranks have the other heads: [T, 2], the sums of the squares of q and of k over all
  /// ranks (qk_squares), which have so many elements. Null: the heads here are all.
  const float* squares = nullptr;
  uint32_t all_q_size = 0;
  uint32_t all_kv_size = 0;
};

/// squares[t] = the sums of the squares of q and of k of this rank's heads; of k 0 where another
/// rank, which has the same, counts them. A block a token.
struct QkSquaresArgs {
  const float* qkv = nullptr;  // [T, q_size + 2 * kv_size]
  uint32_t q_size = 0;
  uint32_t kv_size = 0;
  uint32_t counts_k = 1;
  float* squares = nullptr;  // [T, 2]
};

/// A token's q, k and v are few numbers and the launch is one of many: many threads, each with few
/// of them, wait for memory once.
inline constexpr uint32_t kRopeThreads = 1024;
inline constexpr uint32_t kRopeWarps = kRopeThreads / 32;

/// Squares are added up by stretches of so many numbers of q or of k, a warp a stretch; of both
/// there are at most kMaxNormChunks. So every block, however many warps it has, gets the same sum.
inline constexpr uint32_t kNormChunk = 128;
inline constexpr uint32_t kMaxNormChunks = 64;

constexpr uint32_t rope_shared_bytes(uint32_t q_size, uint32_t kv_size) {
  return (q_size + kv_size + kMaxNormChunks) * 4;
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

/// What a block of kWarps warps has of a token's q and k.
template <uint32_t kWarps>
struct QkNumbers {
  static constexpr uint32_t kLoads = kMaxNormChunks / kWarps;
  Words4 words[kLoads];

  /// Of the thread's i-th four numbers where they stand in q and k together; past the end if there
  /// are none.
  TETRAD_DEVICE static uint32_t place(uint32_t i, uint32_t q_size, uint32_t kv_size) {
    const uint32_t chunk = i * kWarps + warp();
    const uint32_t q_chunks = (q_size + kNormChunk - 1) / kNormChunk;
    const bool is_q = chunk < q_chunks;
    const uint32_t at = (is_q ? chunk : chunk - q_chunks) * kNormChunk + lane() * 4;
    if (at >= (is_q ? q_size : kv_size)) return q_size + kv_size;
    return is_q ? at : q_size + at;
  }
  TETRAD_DEVICE void load(const float* q_and_k, uint32_t q_size, uint32_t kv_size) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kLoads; ++i) {
      const uint32_t at = place(i, q_size, kv_size);
      words[i] = {};
      if (at < q_size + kv_size) words[i] = *reinterpret_cast<const Words4*>(q_and_k + at);
    }
  }
  /// The sums of the squares of each chunk, into chunk_sums[kMaxNormChunks].
  TETRAD_DEVICE void add_squares(float* chunk_sums) const {
    float squares[kLoads] = {};
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kLoads; ++i) {
      TETRAD_UNROLL
      for (uint32_t j = 0; j < 4; ++j) {
        const float value = __builtin_bit_cast(float, words[i].word[j]);
        squares[i] = fused_multiply_add(value, value, squares[i]);
      }
    }
    warp_sum(squares);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kLoads; ++i) {
      if (lane() == 0) chunk_sums[i * kWarps + warp()] = squares[i];
    }
  }
};

/// The sums of the squares of q and of k, from those of their chunks, in each thread of a warp.
struct QkSquares {
  float sums[2];
  TETRAD_DEVICE QkSquares(const float* chunk_sums, uint32_t q_size, uint32_t kv_size) {
    const uint32_t q_chunks = (q_size + kNormChunk - 1) / kNormChunk;
    const uint32_t k_chunks = (kv_size + kNormChunk - 1) / kNormChunk;
    sums[0] = of_lane(chunk_sums, q_chunks);
    sums[1] = of_lane(chunk_sums + q_chunks, k_chunks);
    warp_sum(sums);
  }

 private:
  TETRAD_DEVICE static float of_lane(const float* chunk_sums, uint32_t count) {
    float mine = lane() < count ? chunk_sums[lane()] : 0;
    if (lane() + 32 < count) mine += chunk_sums[lane() + 32];
    return mine;
  }
};

/// 1 / rms of a token's q and k: of the heads here, or of those of all ranks. Which is said when it
/// is compiled, as kernels of one rank have no register to spare.
template <bool kAmongRanks>
struct QkInverses {
  float q;
  float k;
  TETRAD_DEVICE QkInverses(const float* chunk_sums, const QkNormRopeArgs& args, uint64_t token) {
    if constexpr (kAmongRanks) {
      q = inverse_rms(args.squares[2 * token], args.all_q_size, args.eps);
      k = inverse_rms(args.squares[2 * token + 1], args.all_kv_size, args.eps);
    } else {
      const QkSquares squares(chunk_sums, args.q_size, args.kv_size);
      q = inverse_rms(squares.sums[0], args.q_size, args.eps);
      k = inverse_rms(squares.sums[1], args.kv_size, args.eps);
    }
  }
};

/// Four numbers after their norm.
TETRAD_DEVICE Words4 normed_four(const Words4& numbers, float inverse, const Words4& weights) {
  Words4 normed;
  TETRAD_UNROLL
  for (uint32_t j = 0; j < 4; ++j)
    normed.word[j] =
        __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, numbers.word[j]) * inverse *
                                         __builtin_bit_cast(float, weights.word[j]));
  return normed;
}

/// Where a slot's key or value of a head begins in the cache.
TETRAD_DEVICE uint64_t cache_place(int64_t slot, uint32_t kv_head, uint32_t num_kv_heads,
                                   uint32_t head_dim) {
  return ((static_cast<uint64_t>(slot / kKvBlock) * num_kv_heads + kv_head) * kKvBlock +
          static_cast<uint64_t>(slot % kKvBlock)) *
         head_dim;
}

/// Elements d and d + 1 of a key after the rotation, or of a value, as they are kept.
TETRAD_DEVICE uint32_t kept_key(const float* head, uint32_t d, const float* rotation,
                                const QkNormRopeArgs& args) {
  return floats_to_e4m3(divide(rotated(head, d, rotation, args.rotary_dim), args.k_scale),
                        divide(rotated(head, d + 1, rotation, args.rotary_dim), args.k_scale));
}
TETRAD_DEVICE uint32_t kept_value(float first, float second, float v_scale) {
  return floats_to_e4m3(divide(first, v_scale), divide(second, v_scale));
}
/// Elements d and d + 1 of a query, as attention wants them.
TETRAD_DEVICE uint32_t query_halves(const float* head, uint32_t d, const float* rotation,
                                    const QkNormRopeArgs& args) {
  const float factor = args.q_factor * kE4m3Factor;
  return floats_to_halves(rotated(head, d, rotation, args.rotary_dim) * factor,
                          rotated(head, d + 1, rotation, args.rotary_dim) * factor);
}

TETRAD_KERNEL(qk_squares, QkSquaresArgs, 256) {
  wait_for_launches_before();
  let_next_launch_begin();
  const uint64_t token = block_x();
  float* chunk_sums = reinterpret_cast<float*>(shared_memory());
  QkNumbers<8> numbers;
  numbers.load(args.qkv + token * (args.q_size + 2 * args.kv_size), args.q_size, args.kv_size);
  numbers.add_squares(chunk_sums);
  sync_block();
  if (warp() != 0) return;
  const QkSquares squares(chunk_sums, args.q_size, args.kv_size);
  if (lane() == 0) {
    args.squares[2 * token] = squares.sums[0];
    args.squares[2 * token + 1] = args.counts_k != 0 ? squares.sums[1] : 0;
  }
}

template <bool kAmongRanks>
TETRAD_DEVICE void norm_and_rotate(const QkNormRopeArgs& args) {
  float* values = reinterpret_cast<float*>(shared_memory());  // q, then k, normed
  float* chunk_sums = values + args.q_size + args.kv_size;
  const uint32_t size = args.q_size + args.kv_size;
  using Numbers = QkNumbers<kRopeWarps>;
  Words4 norms[Numbers::kLoads];
  TETRAD_UNROLL
  for (uint32_t i = 0; i < Numbers::kLoads; ++i) {
    const uint32_t at = Numbers::place(i, args.q_size, args.kv_size);
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

  Numbers numbers;
  numbers.load(from, args.q_size, args.kv_size);
  if constexpr (!kAmongRanks) {
    numbers.add_squares(chunk_sums);
    sync_block();
  }
  const QkInverses<kAmongRanks> inverse(chunk_sums, args, token);
  TETRAD_UNROLL
  for (uint32_t i = 0; i < Numbers::kLoads; ++i) {
    const uint32_t at = Numbers::place(i, args.q_size, args.kv_size);
    if (at >= size) break;
    *reinterpret_cast<Words4*>(values + at) =
        normed_four(numbers.words[i], at < args.q_size ? inverse.q : inverse.k, norms[i]);
  }
  sync_block();

  for (uint32_t i = thread_index() * 2; i < args.q_size; i += kRopeThreads * 2) {
    const uint32_t d = i % args.head_dim;
    *reinterpret_cast<uint32_t*>(args.q + static_cast<uint64_t>(token) * args.q_size + i) =
        query_halves(values + i - d, d, rotation, args);
  }
  if (slot < 0) return;
  const uint32_t num_heads = args.kv_size / args.head_dim;
  for (uint32_t i = thread_index() * 2; i < args.kv_size; i += kRopeThreads * 2) {
    const uint32_t d = i % args.head_dim;
    const uint64_t at = cache_place(slot, i / args.head_dim, num_heads, args.head_dim) + d;
    *reinterpret_cast<uint16_t*>(args.k_cache + at) =
        static_cast<uint16_t>(kept_key(values + args.q_size + i - d, d, rotation, args));
    const float* v = from + args.q_size + args.kv_size + i;
    *reinterpret_cast<uint16_t*>(args.v_cache + at) =
        static_cast<uint16_t>(kept_value(v[0], v[1], args.v_scale));
  }
}

TETRAD_KERNEL(qk_norm_rope, QkNormRopeArgs, 1024) {
  norm_and_rotate<false>(args);
}
TETRAD_KERNEL(qk_norm_rope_of_rank, QkNormRopeArgs, 1024) {
  norm_and_rotate<true>(args);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
