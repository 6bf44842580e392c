#include "kernels/cpu/limit_loops.h"

namespace tetrad {
namespace {

// The compiler cuts these into what the machine has.
using FourFloats = float __attribute__((vector_size(16)));
using EightFloats = float __attribute__((vector_size(32)));
using EightWords = uint32_t __attribute__((vector_size(32)));
using EightHalves = uint16_t __attribute__((vector_size(16)));
using UnsignedBytes = uint8_t __attribute__((vector_size(16)));
using SignedBytes = int8_t __attribute__((vector_size(16)));
using SixteenShorts = int16_t __attribute__((vector_size(32)));
using SixteenWords = int32_t __attribute__((vector_size(64)));
using SixteenSums = uint32_t __attribute__((vector_size(64)));

/// The operand could be anything after this.
template <class Operand>
void hide_generic(Operand& operand) {
  asm volatile("" : : "r"(&operand) : "memory");
}

struct GenericInt8 {
  static constexpr int64_t kRowsA = 2;
  static constexpr int64_t kRowsB = 1;
  static constexpr int64_t kBytes = 16;
  using A = UnsignedBytes;
  using B = SignedBytes;
  using Acc = SixteenSums;

  template <class Operand>
  static void load(const unsigned char* p, Operand& operand) {
    __builtin_memcpy(&operand, p, sizeof operand);
  }
  static void hide(B& b) { hide_generic(b); }
  static void step(Acc& sum, const A& a, const B& b) {
    const SixteenShorts products =
        __builtin_convertvector(a, SixteenShorts) * __builtin_convertvector(b, SixteenShorts);
    sum += __builtin_convertvector(__builtin_convertvector(products, SixteenWords), SixteenSums);
  }
  static double total(const Acc& sum) { return lane_total<int32_t>(sum); }
};

struct GenericBf16 {
  static constexpr int64_t kRowsA = 2;
  static constexpr int64_t kRowsB = 1;
  static constexpr int64_t kBytes = 16;
  using A = EightFloats;
  using B = EightHalves;
  using Acc = EightFloats;

  static void widen(const B& bits, A& floats) {
    const EightWords words = __builtin_convertvector(bits, EightWords) << 16;
    __builtin_memcpy(&floats, &words, sizeof floats);
  }
  static void load(const unsigned char* p, B& b) { __builtin_memcpy(&b, p, sizeof b); }
  static void load(const unsigned char* p, A& a) {
    B bits;
    load(p, bits);
    widen(bits, a);
  }
  static void hide(B& b) { hide_generic(b); }
  static void step(Acc& sum, const A& a, const B& b) {
    A wide;
    widen(b, wide);
    sum += a * wide;
  }
  static double total(const Acc& sum) { return lane_total<float>(sum); }
};

struct GenericF32 {
  static constexpr int64_t kRowsA = 4;
  static constexpr int64_t kRowsB = 2;
  static constexpr int64_t kBytes = 16;
  using A = FourFloats;
  using B = FourFloats;
  using Acc = FourFloats;

  static void load(const unsigned char* p, A& a) { __builtin_memcpy(&a, p, sizeof a); }
  static void hide(B& b) { hide_generic(b); }
  static void step(Acc& sum, const A& a, const B& b) { sum += a * b; }
  static double total(const Acc& sum) { return lane_total<float>(sum); }
};

uint64_t look_up_generic(const unsigned char* table, const unsigned char* indices, int64_t n,
                         int64_t repeats) {
  uint64_t sum = 0;
  for (int64_t repeat = 0; repeat < repeats; ++repeat) {
    hide_generic(indices);
    for (int64_t i = 0; i < n; i += 8) {
      unsigned char found[8];
      for (int k = 0; k < 8; ++k)
        found[k] = table[indices[i + k] & 15u];
      uint64_t word;
      __builtin_memcpy(&word, found, sizeof word);
      sum ^= word;
    }
  }
  return sum;
}

}  // namespace

const LimitKernels* limit_kernels_generic() {
  static constexpr LimitKernels kKernels = {.isa = "generic",
                                            .read = read_streams,
                                            .look_up = look_up_generic,
                                            .int8 = product_kernel<GenericInt8>("generic"),
                                            .bf16 = product_kernel<GenericBf16>("generic"),
                                            .f32 = product_kernel<GenericF32>("generic")};
  return &kKernels;
}

}  // namespace tetrad
