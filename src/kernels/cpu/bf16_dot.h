#pragma once

#include <immintrin.h>

#include "kernels/cpu/block_prefetch.h"
#include "kernels/cpu/vector_avx512.h"

namespace tetrad {

/// The BF16 of every E4M3 magnitude, exactly, low and high bytes apart.
struct E4m3ToBf16 {
  unsigned char low[128];
  unsigned char high[128];
};

constexpr E4m3ToBf16 make_e4m3_to_bf16() {
  E4m3ToBf16 table{};
  for (unsigned code = 0; code < 128; ++code) {
    unsigned exponent = (code >> 3) + 120;  // the biases differ by so much
    unsigned fraction = code & 7;
    if (code < 8 && code > 0) {  // subnormal: fraction * 2^-9
      ++exponent;
      while (fraction < 8) {
        fraction *= 2;
        --exponent;
      }
    }
    unsigned bits = exponent << 7 | (fraction & 7) << 4;
    if (code == 0) bits = 0;
    if (code == 0x7F) bits = 0x7FC0;  // NaN
    table.low[code] = static_cast<unsigned char>(bits & 0xFF);
    table.high[code] = static_cast<unsigned char>(bits >> 8);
  }
  return table;
}

/// Operands are pairs of BF16, sums are float32; see float_dot.h. Needs AVX512-BF16 besides (Zen 4,
/// Sapphire Rapids). Queries and shares are rounded to BF16, what the cache holds is exact in it.
struct Bf16Dot {
  using Vector = Avx512;
  using Reg = __m512;
  static constexpr int kElements = 2;

  static Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static Reg broadcast(const float* p) { return _mm512_set1_ps(*p); }
  /// Not the intrinsics: GCC 12 puts two moves around each, and asm needs no compiler flag, so the
  /// functions that this file shares with simd_avx512.cpp are compiled alike.
  static void add_product(Reg& sum, Reg a, Reg b) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  }

  static constexpr float kScoreUnit = 1.44269504f;  // 1 / ln 2
  /// 2^x to 3e-6 of it, which the rounding to BF16 hides. x = n + r with 0 <= r < 1, and the
  /// polynomial is a minimax fit of 2^r that is 1 at 0.
  static Reg power(Reg x) {
    const Reg r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
    Reg p = _mm512_set1_ps(0x1.b7f74ep-7f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.abf858p-5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.ee2454p-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.62d6c6p-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, x);
  }

  static void pack(const float* values, int64_t n, float* out) {
    for (int64_t i = 0; i < n; i += kLanes)
      pack_shares(_mm512_loadu_ps(values + i), out + i / 2);
  }
  static Reg pack_shares(Reg shares, float* out) {
    __m256i halves;
    asm("vcvtneps2bf16 %1, %0" : "=v"(halves) : "v"(shares));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), halves);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }

  static void expand_keys(const unsigned char* keys, int64_t head_dim, float* out) {
    const Tables tables = load_tables();
    for (int64_t dim = 0; dim < head_dim; dim += kDims) {
      // lanes[c][j]: 128-bit lane i is dims 16c … 16c + 15 of key 4i + j.
      __m512i lanes[4][4];
#pragma GCC unroll 4
      for (int64_t j = 0; j < 4; ++j) {
        const unsigned char* key = keys + j * head_dim + dim;
        transpose_lanes(load(key), load(key + 4 * head_dim), load(key + 8 * head_dim),
                        load(key + 12 * head_dim), lanes, j);
      }
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) {
        __m512i codes[4];
        gather_pairs(lanes[c], codes);
#pragma GCC unroll 4
        for (int64_t i = 0; i < 4; ++i)
          store(expand(tables, codes[i]), out + 32 * i, out + 32 * i + 16);
        out += 128;
      }
    }
  }

  /// Of each 64 dims vector c has in its 128-bit lane i the dims 16i + 4c … 16i + 4c + 3.
  static void expand_values(const unsigned char* values, int64_t head_dim, int64_t count,
                            float* out) {
    const Tables tables = load_tables();
    const __m512i none = _mm512_setzero_si512();
    for (; count >= 4; count -= 4) {
      for (int64_t dim = 0; dim < head_dim; dim += kDims) {
        const unsigned char* value = values + dim;
        expand_four(tables, load(value), load(value + head_dim), load(value + 2 * head_dim),
                    load(value + 3 * head_dim), out + dim, out + head_dim + dim);
      }
      values += 4 * head_dim;
      out += 2 * head_dim;
    }
    if (count == 0) return;
    for (int64_t dim = 0; dim < head_dim; dim += kDims) {
      const unsigned char* value = values + dim;
      expand_four(tables, load(value), count > 1 ? load(value + head_dim) : none,
                  count > 2 ? load(value + 2 * head_dim) : none, none, out + dim,
                  out + head_dim + dim);
    }
  }

  /// Few queries leave registers free to multiply at once what is expanded, so that the units that
  /// look up and those that multiply work side by side. With fewer than four queries there are too
  /// few sums to keep the latter busy.
  static constexpr int kMinDirectQueries = 4;
  static constexpr int kMaxDirectQueries = 6;

  /// scores[q][16b + i] = queries[q] · key i of block b, for the four blocks of a chunk: what
  /// expand_keys and the product make, in the same order.
  template <int Q>
  static void weigh_directly(const unsigned char* const* blocks, int64_t head_dim,
                             const float* queries, float* scores, BlockPrefetch prefetch) {
    const Tables tables = load_tables();
    for (int64_t block = 0; block < 4; block += 2) {
      Reg sums[Q][2] = {};
      for (int64_t dim = 0; dim < head_dim; dim += 16) {
        __m512i first[4], second[4];
        load_keys(blocks[block] + dim, head_dim, first);
        load_keys(blocks[block + 1] + dim, head_dim, second);
#pragma GCC unroll 4
        for (int64_t i = 0; i < 4; ++i) {
          prefetch.advance();
          const Expanded a = expand(tables, first[i]);
          const Expanded b = expand(tables, second[i]);
          const float* query = queries + dim / 2 + 2 * i;
          add_products(query, head_dim / 2, a.low, b.low, sums);
          add_products(query + 1, head_dim / 2, a.high, b.high, sums);
        }
      }
#pragma GCC unroll 6
      for (int q = 0; q < Q; ++q) {
        _mm512_storeu_ps(scores + q * 64 + block * 16, sums[q][0]);
        _mm512_storeu_ps(scores + q * 64 + block * 16 + 16, sums[q][1]);
      }
    }
  }

  /// sums[q] += Σ shares[q][key] * value of `key` over the keys of a chunk: what expand_values
  /// and the product make, in the same order.
  template <int Q>
  static void add_values_directly(const unsigned char* const* blocks, int64_t head_dim,
                                  const float* shares, float* sums, BlockPrefetch prefetch) {
    for (int64_t dim = 0; dim < head_dim; dim += kDims) {
      add_half<Q, false>(blocks, head_dim, dim, shares, sums + dim, prefetch);
      add_half<Q, true>(blocks, head_dim, dim, shares, sums + dim + 32, prefetch);
    }
  }

  static void write_values(const float* sums, float factor, int64_t head_dim, float* out) {
    for (int64_t dim = 0; dim < head_dim; dim += kDims) {
      for (int64_t i = 0; i < 4; ++i) {
        for (int64_t c = 0; c < 4; ++c) {
          const __m128 four = _mm_loadu_ps(sums + dim + 16 * c + 4 * i);
          _mm_storeu_ps(out + dim + 16 * i + 4 * c, _mm_mul_ps(four, _mm_set1_ps(factor)));
        }
      }
    }
  }

 private:
  static constexpr int64_t kDims = 64;  // a vector of codes

  struct Tables {
    __m512i low[2];
    __m512i high[2];
  };
  /// Kept in registers: the compiler would rather load them for each look-up.
  static Tables load_tables() {
    static constexpr E4m3ToBf16 kTable alignas(64) = make_e4m3_to_bf16();
    return {{load(kTable.low), load(kTable.low + 64)}, {load(kTable.high), load(kTable.high + 64)}};
  }

  /// Once: without the asm GCC loads it again for each use.
  static __m512i load(const unsigned char* p) {
    __m512i bytes = _mm512_loadu_si512(p);
    asm("" : "+v"(bytes));
    return bytes;
  }

  /// out[c][j] = the 128-bit lanes c of a, b, c and d.
  static void transpose_lanes(__m512i a, __m512i b, __m512i c, __m512i d, __m512i (&out)[4][4],
                              int64_t j) {
    const __m512i low_ab = _mm512_shuffle_i32x4(a, b, 0x44);
    const __m512i low_cd = _mm512_shuffle_i32x4(c, d, 0x44);
    const __m512i high_ab = _mm512_shuffle_i32x4(a, b, 0xEE);
    const __m512i high_cd = _mm512_shuffle_i32x4(c, d, 0xEE);
    out[0][j] = _mm512_shuffle_i32x4(low_ab, low_cd, 0x88);
    out[1][j] = _mm512_shuffle_i32x4(low_ab, low_cd, 0xDD);
    out[2][j] = _mm512_shuffle_i32x4(high_ab, high_cd, 0x88);
    out[3][j] = _mm512_shuffle_i32x4(high_ab, high_cd, 0xDD);
  }

  /// 64 dims of four values.
  static void expand_four(const Tables& tables, __m512i a, __m512i b, __m512i c, __m512i d,
                          float* ab, float* cd) {
    const __m512i low_ab = _mm512_unpacklo_epi8(a, b);
    const __m512i low_cd = _mm512_unpacklo_epi8(c, d);
    const __m512i high_ab = _mm512_unpackhi_epi8(a, b);
    const __m512i high_cd = _mm512_unpackhi_epi8(c, d);
    store(expand(tables, _mm512_unpacklo_epi64(low_ab, low_cd)), ab, cd);
    store(expand(tables, _mm512_unpackhi_epi64(low_ab, low_cd)), ab + 16, cd + 16);
    store(expand(tables, _mm512_unpacklo_epi64(high_ab, high_cd)), ab + 32, cd + 32);
    store(expand(tables, _mm512_unpackhi_epi64(high_ab, high_cd)), ab + 48, cd + 48);
  }

  struct Expanded {
    __m512i low;   // of the lower 8 codes of each 128-bit lane
    __m512i high;  // of the upper 8
  };
  /// Bit 7 of a code, its sign, is not looked up.
  static Expanded expand(const Tables& tables, __m512i codes) {
    const __m512i low_bytes = _mm512_permutex2var_epi8(tables.low[0], codes, tables.low[1]);
    const __m512i magnitudes = _mm512_permutex2var_epi8(tables.high[0], codes, tables.high[1]);
    // a | (b & c)
    const __m512i high_bytes = _mm512_ternarylogic_epi32(
        magnitudes, codes, _mm512_set1_epi8(static_cast<char>(0x80)), 0xF8);
    return {_mm512_unpacklo_epi8(low_bytes, high_bytes),
            _mm512_unpackhi_epi8(low_bytes, high_bytes)};
  }
  static void store(const Expanded& expanded, float* low, float* high) {
    _mm512_storeu_si512(low, expanded.low);
    _mm512_storeu_si512(high, expanded.high);
  }

  /// 128-bit lane i of lanes[j] is key 4i + j, as 8 words w. Two rounds of unpacking turn each lane
  /// of codes[n] into word 2n of keys 4i … 4i + 3 and then word 2n + 1 of them.
  static void gather_pairs(const __m512i (&lanes)[4], __m512i (&codes)[4]) {
    const __m512i even_low = _mm512_unpacklo_epi16(lanes[0], lanes[2]);
    const __m512i odd_low = _mm512_unpacklo_epi16(lanes[1], lanes[3]);
    const __m512i even_high = _mm512_unpackhi_epi16(lanes[0], lanes[2]);
    const __m512i odd_high = _mm512_unpackhi_epi16(lanes[1], lanes[3]);
    codes[0] = _mm512_unpacklo_epi16(even_low, odd_low);
    codes[1] = _mm512_unpackhi_epi16(even_low, odd_low);
    codes[2] = _mm512_unpacklo_epi16(even_high, odd_high);
    codes[3] = _mm512_unpackhi_epi16(even_high, odd_high);
  }

  /// 16 dims of 16 keys.
  static void load_keys(const unsigned char* keys, int64_t head_dim, __m512i (&codes)[4]) {
    __m512i lanes[4];
#pragma GCC unroll 4
    for (int64_t j = 0; j < 4; ++j) {
      const unsigned char* key = keys + j * head_dim;
      lanes[j] = _mm512_castsi128_si512(load_lane(key));
      lanes[j] = _mm512_inserti32x4(lanes[j], load_lane(key + 4 * head_dim), 1);
      lanes[j] = _mm512_inserti32x4(lanes[j], load_lane(key + 8 * head_dim), 2);
      lanes[j] = _mm512_inserti32x4(lanes[j], load_lane(key + 12 * head_dim), 3);
    }
    gather_pairs(lanes, codes);
  }
  static __m128i load_lane(const unsigned char* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }

  /// sums[q] += factors[q * stride] times both vectors.
  template <int Q>
  static void add_products(const float* factors, int64_t stride, __m512i first, __m512i second,
                           Reg (&sums)[Q][2]) {
#pragma GCC unroll 6
    for (int q = 0; q < Q; ++q) {
      const Reg factor = broadcast(factors + q * stride);
      add_product(sums[q][0], factor, _mm512_castsi512_ps(first));
      add_product(sums[q][1], factor, _mm512_castsi512_ps(second));
    }
  }

  /// Half of the sums of 64 dims: vectors 0 and 1 of expand_values, or 2 and 3.
  template <int Q, bool kUpper>
  static void add_half(const unsigned char* const* blocks, int64_t head_dim, int64_t dim,
                       const float* shares, float* out, BlockPrefetch& blocks_ahead) {
    const Tables tables = load_tables();
    BlockPrefetch prefetch = blocks_ahead;
    Reg sums[Q][2];
#pragma GCC unroll 6
    for (int q = 0; q < Q; ++q) {
      sums[q][0] = _mm512_loadu_ps(out + q * head_dim);
      sums[q][1] = _mm512_loadu_ps(out + q * head_dim + 16);
    }
    for (int64_t key = 0; key < 64; key += 4) {
      const unsigned char* value = blocks[key / 16] + key % 16 * head_dim + dim;
      prefetch.advance();
      const __m512i a = load(value);
      const __m512i b = load(value + head_dim);
      const __m512i c = load(value + 2 * head_dim);
      const __m512i d = load(value + 3 * head_dim);
      const __m512i ab = kUpper ? _mm512_unpackhi_epi8(a, b) : _mm512_unpacklo_epi8(a, b);
      const __m512i cd = kUpper ? _mm512_unpackhi_epi8(c, d) : _mm512_unpacklo_epi8(c, d);
      const Expanded first = expand(tables, _mm512_unpacklo_epi64(ab, cd));
      const Expanded second = expand(tables, _mm512_unpackhi_epi64(ab, cd));
      add_products(shares + key / 2, 32, first.low, second.low, sums);
      add_products(shares + key / 2 + 1, 32, first.high, second.high, sums);
    }
#pragma GCC unroll 6
    for (int q = 0; q < Q; ++q) {
      _mm512_storeu_ps(out + q * head_dim, sums[q][0]);
      _mm512_storeu_ps(out + q * head_dim + 16, sums[q][1]);
    }
    blocks_ahead = prefetch;
  }
};

}  // namespace tetrad
