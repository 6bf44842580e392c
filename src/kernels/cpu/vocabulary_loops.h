#pragma once

// The loops of vocabulary_scan_*.cpp, each of which compiles them for its instruction set: plain
// pointers and no library, see simd_kernels.h. The namespace is unnamed on purpose: every file has
// an instance of its own. Vectors go by reference, since how they are passed by value depends on
// the instruction set.

#include "kernels/vocabulary_scan.h"

namespace tetrad {
namespace {  // NOLINT(google-build-namespaces)

// As wide as the registers: of wider ones the compiler makes very slow code.
#if defined(__AVX512F__)
inline constexpr int64_t kScanBytes = 64;
#elif defined(__AVX2__)
inline constexpr int64_t kScanBytes = 32;
#else
inline constexpr int64_t kScanBytes = 16;
#endif
inline constexpr int64_t kScanFloats = kScanBytes / 4;
inline constexpr int64_t kScanDoubles = kScanBytes / 8;

using ScanFloats = float __attribute__((vector_size(kScanBytes)));
using ScanMask = int32_t __attribute__((vector_size(kScanBytes)));
using ScanDoubles = double __attribute__((vector_size(kScanBytes)));
using ScanBits = uint64_t __attribute__((vector_size(kScanBytes)));
using ScanNarrowFloats = float __attribute__((vector_size(kScanBytes / 2)));

/// Calls body(block's logits, index of the block) for each; the last one filled up with `fill`.
template <class Body>
[[maybe_unused]] void for_each_block(const float* logits, int64_t n, float fill, Body body) {
  const int64_t num_full = n / kVocabularyBlock;
  for (int64_t block = 0; block < num_full; ++block)
    body(logits + block * kVocabularyBlock, block);
  const int64_t rest = n - num_full * kVocabularyBlock;
  if (rest == 0) return;
  float last[kVocabularyBlock];
  for (int64_t i = 0; i < kVocabularyBlock; ++i)
    last[i] = i < rest ? logits[num_full * kVocabularyBlock + i] : fill;
  body(last, num_full);
}

/// The block's, or anything if it has a NaN; `zeros` gets the logits times 0.
[[maybe_unused]] float scan_block_maximum(const float* block, ScanFloats& zeros) {
  ScanFloats largest;
  __builtin_memcpy(&largest, block, sizeof largest);
  zeros += largest * 0.0f;
#pragma GCC unroll 16
  for (int64_t i = kScanFloats; i < kVocabularyBlock; i += kScanFloats) {
    ScanFloats part;
    __builtin_memcpy(&part, block + i, sizeof part);
    zeros += part * 0.0f;
    largest = part > largest ? part : largest;
  }
  float lanes[kScanFloats];
  __builtin_memcpy(lanes, &largest, sizeof lanes);
#pragma GCC unroll 4
  for (int64_t half = kScanFloats / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int64_t i = 0; i < half; ++i)
      lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
  }
  return lanes[0];
}

[[maybe_unused]] bool scan_block_maxima(const float* logits, int64_t n, float* maxima) {
  // x * 0 is 0 for finite x and NaN for all others, and NaN stays.
  ScanFloats zeros = {};
  for_each_block(logits, n, n > 0 ? logits[n - 1] : 0, [&](const float* block, int64_t index) {
    maxima[index] = scan_block_maximum(block, zeros);
  });
  float zero = 0;
  for (int64_t i = 0; i < kScanFloats; ++i)
    zero += zeros[i];
  return zero == 0;
}

/// exp(x) for x <= 0: 2^k * exp(r) with |r| <= ln(2) / 2, and exp(r) by its series, of which what
/// is left out, r^14 / 14! and on, is below 2^-57.
[[maybe_unused]] void scan_exp(const ScanDoubles& exponent, ScanDoubles& out) {
  constexpr double kRound = 0x1.8p52;  // added, it leaves the nearest integer in the lowest bits
  constexpr double kInverseLn2 = 0x1.71547652b82fep0;
  constexpr double kLn2High = 0x1.62e42fefap-1;  // 36 bits: times an integer of 11 it is exact
  constexpr double kLn2Low = 0x1.cf79abc9e3b3ap-40;
  constexpr double kSeries[] = {1.0 / 6227020800,
                                1.0 / 479001600,
                                1.0 / 39916800,
                                1.0 / 3628800,
                                1.0 / 362880,
                                1.0 / 40320,
                                1.0 / 5040,
                                1.0 / 720,
                                1.0 / 120,
                                1.0 / 24,
                                1.0 / 6,
                                1.0 / 2,
                                1.0,
                                1.0};
  const ScanDoubles x = exponent > -700.0 ? exponent : ScanDoubles{} - 700.0;
  const ScanDoubles shifted = x * kInverseLn2 + kRound;
  const ScanDoubles k = shifted - kRound;
  const ScanDoubles r = (x - k * kLn2High) - k * kLn2Low;
  ScanDoubles sum = r * kSeries[0] + kSeries[1];
#pragma GCC unroll 12
  for (int i = 2; i < 14; ++i)
    sum = sum * r + kSeries[i];
  const ScanBits bits = (ScanBits)sum + ((ScanBits)shifted << 52);
  out = (ScanDoubles)bits;
}

[[maybe_unused]] void scan_exps_of_vector(const float* logits, double shift, double scale,
                                          ScanDoubles& out) {
  ScanNarrowFloats narrow;
  __builtin_memcpy(&narrow, logits, sizeof narrow);
  scan_exp((__builtin_convertvector(narrow, ScanDoubles) - shift) * scale, out);
}

[[maybe_unused]] void scan_exps(const float* logits, int64_t n, double shift, double scale,
                                double* out) {
  int64_t i = 0;
  ScanDoubles values;
  for (; i + kScanDoubles <= n; i += kScanDoubles) {
    scan_exps_of_vector(logits + i, shift, scale, values);
    __builtin_memcpy(out + i, &values, sizeof values);
  }
  if (i == n) return;
  float last[kScanDoubles];
  for (int64_t k = 0; k < kScanDoubles; ++k)
    last[k] = logits[i + k < n ? i + k : i];
  scan_exps_of_vector(last, shift, scale, values);
  for (int64_t k = 0; i + k < n; ++k)
    out[i + k] = values[k];
}

[[maybe_unused]] void scan_block_exp_sums(const float* logits, int64_t n, double shift,
                                          double scale, double* sums) {
  for_each_block(logits, n, -__builtin_inff(), [&](const float* block, int64_t index) {
    ScanDoubles total = {};
#pragma GCC unroll 2
    for (int64_t i = 0; i < kVocabularyBlock; i += kScanDoubles) {
      ScanDoubles values;
      scan_exps_of_vector(block + i, shift, scale, values);
      total += values;
    }
    double sum = 0;
#pragma GCC unroll 8
    for (int64_t i = 0; i < kScanDoubles; ++i)
      sum += total[i];
    sums[index] = sum;
  });
}

[[maybe_unused]] int64_t scan_count_above(const float* logits, int64_t n, float bound) {
  ScanMask counts = {};  // minus the count of each lane
  for_each_block(logits, n, -__builtin_inff(), [&](const float* block, int64_t) {
#pragma GCC unroll 16
    for (int64_t i = 0; i < kVocabularyBlock; i += kScanFloats) {
      ScanFloats part;
      __builtin_memcpy(&part, block + i, sizeof part);
      counts += part > bound;
    }
  });
  int64_t count = 0;
  for (int64_t i = 0; i < kScanFloats; ++i)
    count -= counts[i];
  return count;
}

[[maybe_unused]] void scan_fill_unset(float* logits, int64_t n, const uint64_t* words,
                                      float value) {
  ScanMask lane_bits;
  for (int i = 0; i < kScanFloats; ++i)
    lane_bits[i] = 1 << i;
  const ScanFloats values = ScanFloats{} + value;
  int64_t i = 0;
  for (; i + kScanFloats <= n; i += kScanFloats) {
    const auto bits = static_cast<int32_t>(words[i / 64] >> (i % 64) & 0xffff);
    ScanFloats part;
    __builtin_memcpy(&part, logits + i, sizeof part);
    part = (lane_bits & bits) != 0 ? part : values;
    __builtin_memcpy(logits + i, &part, sizeof part);
  }
  for (; i < n; ++i)
    logits[i] = (words[i / 64] >> (i % 64) & 1) != 0 ? logits[i] : value;
}

[[maybe_unused]] constexpr VocabularyScan make_vocabulary_scan(const char* isa) {
  return {.isa = isa,
          .block_maxima = scan_block_maxima,
          .exps = scan_exps,
          .block_exp_sums = scan_block_exp_sums,
          .count_above = scan_count_above,
          .fill_unset = scan_fill_unset};
}

}  // namespace
}  // namespace tetrad
