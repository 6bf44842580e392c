#pragma once

// The inner loops that find out what the processor can do at most, one instance for each
// instruction set (limit_kernels_*.cpp). Those files are compiled for machines that may not be this
// one, so they and the headers they include use plain pointers and no library at all; see
// simd_kernels.h. Every loop returns a sum of what it has done, so that none can be optimised away
// and a test can tell that all of it was done.

#include <cstdint>

namespace tetrad {

/// Places of memory that one thread reads side by side.
inline constexpr int64_t kReadStreams = 4;
/// What stream_bytes of LimitKernels::read must be a multiple of.
inline constexpr int64_t kReadUnit = 256;

/// Multiply-adds between registers: the tile of a matrix product whose operands are there already.
struct ProductKernel {
  const char* isa = nullptr;
  /// repeats * Σ a[i][k] * b[j][k] over i < a_rows, j < b_rows and the elements k of a vector.
  /// int8: `a` is unsigned and at most 127, `b` signed, and each 32-bit part of the sum wraps
  /// around. bf16: accumulated in float32, as f32 is.
  double (*run)(const unsigned char* a, const unsigned char* b, int64_t repeats) = nullptr;
  int64_t a_rows = 0;
  int64_t b_rows = 0;
  int64_t vector_bytes = 0;  // of a row of a and of b
};

/// Rows of either operand and bytes of a row, at most.
inline constexpr int64_t kMaxProductRows = 4;
inline constexpr int64_t kMaxProductBytes = 64;

struct LimitKernels {
  const char* isa = nullptr;
  /// XOR of the 64-bit words of kReadStreams * stream_bytes bytes.
  uint64_t (*read)(const unsigned char* data, int64_t stream_bytes) = nullptr;
  /// XOR of the 64-bit words of table[index % 16] for `n` indices below 64, done `repeats` times,
  /// each over the sum of those before. `n` is a multiple of 512, the table has 16 bytes.
  uint64_t (*look_up)(const unsigned char* table, const unsigned char* indices, int64_t n,
                      int64_t repeats) = nullptr;
  ProductKernel int8;
  ProductKernel bf16;
  ProductKernel f32;
};

/// Null where the compiler's target is another architecture.
const LimitKernels* limit_kernels_avx512();
const LimitKernels* limit_kernels_avx2();
const LimitKernels* limit_kernels_generic();
/// What only some processors with AVX-512 have: int8 by VNNI and bf16 by AVX512-BF16.
const ProductKernel* limit_int8_avx512_vnni();
const ProductKernel* limit_bf16_avx512_bf16();

/// Those that this machine can run, the fastest first, with a null pointer behind the last.
const LimitKernels* const* available_limit_kernels();

}  // namespace tetrad
