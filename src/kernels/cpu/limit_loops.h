#pragma once

// The loops of limit_kernels_*.cpp, each of which compiles them for its instruction set. The
// namespace is unnamed on purpose: every file has an instance of its own.

#include "kernels/cpu/limit_kernels.h"

namespace tetrad {
namespace {  // NOLINT(google-build-namespaces)

/// The compiler cuts it into what the instruction set has.
using ReadLine = uint64_t __attribute__((vector_size(64)));

[[maybe_unused]] uint64_t fold_words(const ReadLine& words) {
  uint64_t folded = 0;
  for (int i = 0; i < 8; ++i)
    folded ^= words[i];
  return folded;
}

[[maybe_unused]] uint64_t read_streams(const unsigned char* data, int64_t stream_bytes) {
  ReadLine sums[kReadStreams] = {};
  for (int64_t at = 0; at < stream_bytes; at += kReadUnit) {
#pragma GCC unroll 4
    for (int64_t stream = 0; stream < kReadStreams; ++stream) {
#pragma GCC unroll 4
      for (int64_t line = 0; line < kReadUnit; line += 64) {
        ReadLine words;
        __builtin_memcpy(&words, data + stream * stream_bytes + at + line, sizeof words);
        sums[stream] ^= words;
      }
    }
  }
  for (int64_t stream = 1; stream < kReadStreams; ++stream)
    sums[0] ^= sums[stream];
  return fold_words(sums[0]);
}

/// An Op says how operands get into registers and what one step of a sum is:
///   A, B, Acc; kRowsA, kRowsB, kBytes; load(p, A&), load(p, B&), step(Acc&, A, B), total(Acc)
///   and hide(B&), after which the compiler no longer knows that the operand is the same as before:
///   it would else multiply once, outside of the loop.
/// All its loops over rows are unrolled: an array with an index that the compiler does not know is
/// in memory, and so would be the sums.
template <class Op>
double product_tile(const unsigned char* a, const unsigned char* b, int64_t repeats) {
  typename Op::A rows_a[Op::kRowsA];
  typename Op::B rows_b[Op::kRowsB];
  typename Op::Acc sums[Op::kRowsA * Op::kRowsB] = {};
#pragma GCC unroll 4
  for (int64_t i = 0; i < Op::kRowsA; ++i)
    Op::load(a + i * Op::kBytes, rows_a[i]);
#pragma GCC unroll 4
  for (int64_t j = 0; j < Op::kRowsB; ++j)
    Op::load(b + j * Op::kBytes, rows_b[j]);
  for (int64_t repeat = 0; repeat < repeats; ++repeat) {
#pragma GCC unroll 4
    for (int64_t j = 0; j < Op::kRowsB; ++j) {
      Op::hide(rows_b[j]);
#pragma GCC unroll 4
      for (int64_t i = 0; i < Op::kRowsA; ++i)
        Op::step(sums[i * Op::kRowsB + j], rows_a[i], rows_b[j]);
    }
  }
  double total = 0;
#pragma GCC unroll 16
  for (int64_t i = 0; i < Op::kRowsA * Op::kRowsB; ++i)
    total += Op::total(sums[i]);
  return total;
}

template <class Op>
constexpr ProductKernel product_kernel(const char* isa) {
  static_assert(Op::kRowsA <= kMaxProductRows && Op::kRowsB <= kMaxProductRows);
  static_assert(Op::kBytes <= kMaxProductBytes);
  return {.isa = isa,
          .run = product_tile<Op>,
          .a_rows = Op::kRowsA,
          .b_rows = Op::kRowsB,
          .vector_bytes = Op::kBytes};
}

/// The elements of a register's bytes, added up.
template <class Element, class Register>
double lane_total(const Register& value) {
  Element lanes[sizeof(Register) / sizeof(Element)];
  __builtin_memcpy(lanes, &value, sizeof lanes);
  double total = 0;
  for (const Element lane : lanes)
    total += static_cast<double>(lane);
  return total;
}

}  // namespace
}  // namespace tetrad
