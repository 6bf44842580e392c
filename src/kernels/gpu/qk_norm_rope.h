#pragma once

// Between the product that gives q, k and v and attention: one norm over all heads of q and one
// over all of k, the rotation, and the keys and values into the FP8 cache. A launch for the
// tokens of a step with a prompt, which adds up the squares that the norms need where no other
// rank has heads; of sequences with one token, attention does the same for the heads it needs
// (paged_attention.h), with sums of squares that come with the product.

#include "kernels/gpu/rms_norm.h"
#include "kernels/gpu/square_sums.h"

namespace tetrad::gpu {

inline constexpr uint32_t kKvBlock = 16;  // kKvBlockSize of kernels/batch.h

/// A block a token. q_size is at most kMaxQSize, kv_size kMaxKvSize, rotary_dim a multiple of 8.
struct QkNormRopeArgs {
  const float* qkv = nullptr;     // [T, q_size + 2 * kv_size]
  float* square_sums = nullptr;   // [T, (q_size + 2 * kv_size) / 16] (SquareSumsArgs): attention
                                  // reads them, and qk_norm_rope writes them if they are wanted
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
/// rank, which has the same, counts them. A warp a token.
struct QkSquaresArgs {
  const float* square_sums = nullptr;  // as QkNormRopeArgs has them
  uint32_t q_size = 0;
  uint32_t kv_size = 0;
  uint32_t counts_k = 1;
  float* squares = nullptr;  // [T, 2]
};

/// sums[t][i] = the sum of the squares of numbers 16 i … of x[t]: what decode_product adds up as it
/// writes, here for the products that are gemm's. A block a token.
struct SquareSumsArgs {
  const float* x = nullptr;  // [T, cols]
  uint32_t cols = 0;         // a multiple of 16
  float* sums = nullptr;     // [T, cols / 16]
};

inline constexpr uint32_t kRopeThreads = 512;

/// The stretches' squares (square_sums.h) are added up by the lanes of a warp: of q up to
/// kMaxQSize, of k up to kMaxKvSize.
inline constexpr uint32_t kMaxQSize = 6144;
inline constexpr uint32_t kMaxKvSize = 2048;

/// Of a token: stretches of its q, k and v.
constexpr uint32_t qkv_square_sums(uint32_t q_size, uint32_t kv_size) {
  return (q_size + 2 * kv_size) / kSquareColumns;
}
constexpr uint32_t qk_norm_rope_shared_bytes(uint32_t q_size, uint32_t kv_size) {
  return qkv_square_sums(q_size, kv_size) * 4;
}

namespace TETRAD_MACHINE {

/// The sums of the squares of a token's q and k, in each lane of a warp.
struct QkSquares {
  float sums[2];
  /// `square_sums`: of the token.
  TETRAD_DEVICE QkSquares(const float* square_sums, uint32_t q_size, uint32_t kv_size) {
    sums[0] = of_lane<kMaxQSize>(square_sums, q_size);
    sums[1] = of_lane<kMaxKvSize>(square_sums + q_size / kSquareColumns, kv_size);
    warp_sum(sums);
  }
  /// What a rank brings to the sum over all.
  TETRAD_DEVICE QkSquares(const QkSquaresArgs& args, uint64_t token)
      : QkSquares(args.square_sums + token * qkv_square_sums(args.q_size, args.kv_size),
                  args.q_size, args.kv_size) {
    if (args.counts_k == 0) sums[1] = 0;
  }

 private:
  template <uint32_t kMaxSize>
  TETRAD_DEVICE static float of_lane(const float* square_sums, uint32_t size) {
    constexpr uint32_t kLoads = kMaxSize / kSquareColumns / 128;
    Words4 words[kLoads] = {};
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kLoads; ++i) {
      const uint32_t first = i * 128 + lane() * 4;
      if (first * kSquareColumns < size)
        words[i] = *reinterpret_cast<const Words4*>(square_sums + first);
    }
    float sum = 0;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kLoads; ++i) {
      TETRAD_UNROLL
      for (uint32_t j = 0; j < 4; ++j)
        sum += __builtin_bit_cast(float, words[i].word[j]);
    }
    return sum;
  }
};

/// 1 / rms of a token's q and k: of the heads here, or of those of all ranks. Which is said when it
/// is compiled, as kernels of one rank have no register to spare.
template <bool kAmongRanks>
struct QkInverses {
  float q;
  float k;
  TETRAD_DEVICE QkInverses(const QkNormRopeArgs& args, uint64_t token)
      : QkInverses(args, token,
                   args.square_sums + token * qkv_square_sums(args.q_size, args.kv_size)) {}
  /// `square_sums`: of the token.
  TETRAD_DEVICE QkInverses(const QkNormRopeArgs& args, uint64_t token, const float* square_sums) {
    if constexpr (kAmongRanks) {
      q = inverse_rms(args.squares[2 * token], args.all_q_size, args.eps);
      k = inverse_rms(args.squares[2 * token + 1], args.all_kv_size, args.eps);
    } else {
      const QkSquares squares(square_sums, args.q_size, args.kv_size);
      q = inverse_rms(squares.sums[0], args.q_size, args.eps);
      k = inverse_rms(squares.sums[1], args.kv_size, args.eps);
    }
  }
};

/// Where a slot's key or value of a head begins in the cache.
TETRAD_DEVICE uint64_t cache_place(int64_t slot, uint32_t kv_head, uint32_t num_kv_heads,
                                   uint32_t head_dim) {
  return ((static_cast<uint64_t>(slot / kKvBlock) * num_kv_heads + kv_head) * kKvBlock +
          static_cast<uint64_t>(slot % kKvBlock)) *
         head_dim;
}

enum class QkvPart : uint32_t { q, k, v };

/// Four numbers of a token's q, k or v, one thread's. What they are made of that was there before
/// is loaded first.
struct QkvFour {
  uint32_t at;  // in the token's row
  uint32_t d;   // in their head
  QkvPart part;
  Words4 norms = {};
  Words4 rotation[2] = {};  // cosines and sines in turn

  TETRAD_DEVICE QkvFour(const QkNormRopeArgs& args, uint32_t first, uint32_t head_dim,
                        uint32_t position)
      : at(first), d(first % head_dim) {
    part = at < args.q_size                  ? QkvPart::q
           : at < args.q_size + args.kv_size ? QkvPart::k
                                             : QkvPart::v;
    if (part == QkvPart::v) return;
    const float* norm = part == QkvPart::q ? args.q_norm + at : args.k_norm + (at - args.q_size);
    norms = *reinterpret_cast<const Words4*>(norm);
    if (d >= args.rotary_dim) return;
    const float* pairs =
        args.rotation + static_cast<uint64_t>(position) * args.rotary_dim + d % half(args) * 2;
    rotation[0] = *reinterpret_cast<const Words4*>(pairs);
    rotation[1] = *reinterpret_cast<const Words4*>(pairs + 4);
  }

  /// After norm and rotation, by all lanes of a warp: they have their heads' others. Of v as it is.
  template <bool kAmongRanks>
  TETRAD_DEVICE void turn(const Words4& numbers, const QkInverses<kAmongRanks>& inverse,
                          const QkNormRopeArgs& args, float (&values)[4]) const {
    const float factor = part == QkvPart::q ? inverse.q : inverse.k;
    const bool is_first = d < half(args);
    const bool rotates = part != QkvPart::v && d < args.rotary_dim;
    const uint32_t lanes = half(args) / 4;
    const uint32_t other = !rotates ? lane() : is_first ? lane() + lanes : lane() - lanes;
    TETRAD_UNROLL
    for (uint32_t j = 0; j < 4; ++j) {
      values[j] = __builtin_bit_cast(float, numbers.word[j]);
      if (part != QkvPart::v) values[j] = values[j] * factor * number(norms, j);
    }
    TETRAD_UNROLL
    for (uint32_t j = 0; j < 4; ++j) {
      const float theirs = shuffle(values[j], other);
      if (!rotates) continue;
      const float cosine = number(rotation[j / 2], j % 2 * 2);
      const float sine = number(rotation[j / 2], j % 2 * 2 + 1);
      values[j] =
          is_first ? values[j] * cosine - theirs * sine : values[j] * cosine + theirs * sine;
    }
  }

  /// As the cache keeps keys and values.
  TETRAD_DEVICE uint32_t kept(const float (&values)[4], const QkNormRopeArgs& args) const {
    const float scale = part == QkvPart::k ? args.k_scale : args.v_scale;
    return floats_to_e4m3(divide(values[0], scale), divide(values[1], scale)) |
           floats_to_e4m3(divide(values[2], scale), divide(values[3], scale)) << 16;
  }
  /// As attention wants queries.
  TETRAD_DEVICE static Words2 as_query(const float (&values)[4], const QkNormRopeArgs& args) {
    const float factor = args.q_factor * kE4m3Factor;
    return {{floats_to_halves(values[0] * factor, values[1] * factor),
             floats_to_halves(values[2] * factor, values[3] * factor)}};
  }
  /// Into the cache, if the token has a slot.
  TETRAD_DEVICE void keep(uint32_t word, const QkNormRopeArgs& args, int64_t slot,
                          uint32_t head_dim) const {
    if (slot < 0) return;
    const uint32_t of_part = at - args.q_size - (part == QkvPart::k ? 0 : args.kv_size);
    uint8_t* cache = part == QkvPart::k ? args.k_cache : args.v_cache;
    const uint64_t to =
        cache_place(slot, of_part / head_dim, args.kv_size / head_dim, head_dim) + d;
    *reinterpret_cast<uint32_t*>(cache + to) = word;
  }

 private:
  TETRAD_DEVICE static uint32_t half(const QkNormRopeArgs& args) { return args.rotary_dim / 2; }
  TETRAD_DEVICE static float number(const Words4& words, uint32_t i) {
    return __builtin_bit_cast(float, words.word[i]);
  }
};

TETRAD_KERNEL(qk_squares, QkSquaresArgs, 32) {
  wait_for_launches_before();
  let_next_launch_begin();
  const uint64_t token = block_x();
  const QkSquares squares(args, token);
  if (lane() == 0) {
    args.squares[2 * token] = squares.sums[0];
    args.squares[2 * token + 1] = squares.sums[1];
  }
}

TETRAD_KERNEL(square_sums, SquareSumsArgs, 256) {
  wait_for_launches_before();
  let_next_launch_begin();
  const uint64_t token = block_x();
  const uint32_t num_fours = args.cols / 4;
  for (uint32_t first = warp() * 32; first < num_fours; first += 256) {
    const uint32_t four = first + lane();
    Words4 numbers = {};
    if (four < num_fours)
      numbers = *reinterpret_cast<const Words4*>(args.x + token * args.cols + 4 * four);
    const float sum = square_sum_of_4_lanes(numbers);
    if (four < num_fours && four % 4 == 0)
      args.sums[token * (args.cols / kSquareColumns) + four / 4] = sum;
  }
}

/// A thread keeps its numbers while the block adds up their squares.
template <bool kAmongRanks>
TETRAD_DEVICE void norm_and_rotate(const QkNormRopeArgs& args) {
  wait_for_launches_before();
  let_next_launch_begin();
  const uint64_t token = block_x();
  const uint32_t width = args.q_size + 2 * args.kv_size;
  const float* row = args.qkv + token * width;
  const int64_t slot = args.slot_mapping[token];
  const auto position = static_cast<uint32_t>(args.positions[token]);

  constexpr uint32_t kStep = kRopeThreads * 4;
  constexpr uint32_t kFours = tiles_for(kMaxQSize + 2 * kMaxKvSize, kStep);
  const uint32_t mine = thread_index() * 4;
  // Lanes beyond the end, of a warp's last heads, take the last numbers once more.
  const auto place_of = [&](uint32_t at) TETRAD_INLINE { return at < width ? at : width - 4; };
  // Whether any lane of the warp has numbers there.
  const auto is_warps = [&](uint32_t i) TETRAD_INLINE { return warp() * 128 + i * kStep < width; };
  Words4 numbers[kFours] = {};
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kFours; ++i) {
    if (is_warps(i))
      numbers[i] = *reinterpret_cast<const Words4*>(row + place_of(mine + i * kStep));
  }
  float* square_sums = reinterpret_cast<float*>(shared_memory());
  if constexpr (!kAmongRanks) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kFours; ++i) {
      if (!is_warps(i)) break;
      const float sum = square_sum_of_4_lanes(numbers[i]);
      const uint32_t at = mine + i * kStep;
      if (at >= width || lane() % 4 != 0) continue;
      square_sums[at / kSquareColumns] = sum;
      if (args.square_sums != nullptr)
        args.square_sums[(token * width + at) / kSquareColumns] = sum;
    }
    sync_block();
  }
  const QkInverses<kAmongRanks> inverse(args, token, square_sums);
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kFours; ++i) {
    if (!is_warps(i)) break;
    const uint32_t at = mine + i * kStep;
    const QkvFour four(args, place_of(at), args.head_dim, position);
    float values[4];
    four.turn(numbers[i], inverse, args, values);
    if (at >= width) continue;
    if (four.part == QkvPart::q)
      *reinterpret_cast<Words2*>(args.q + token * args.q_size + four.at) =
          QkvFour::as_query(values, args);
    else
      four.keep(four.kept(values, args), args, slot, args.head_dim);
  }
}

TETRAD_KERNEL(qk_norm_rope, QkNormRopeArgs, 512) {
  norm_and_rotate<false>(args);
}
TETRAD_KERNEL(qk_norm_rope_of_rank, QkNormRopeArgs, 512) {
  norm_and_rotate<true>(args);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
