#pragma once

// The dialect on the CPU: every thread of a block is a fiber, which really waits at barriers and
// really exchanges values with its warp (gpu/emulated_threads.h). For tests: what it computes is
// checked, how fast it is does not matter.

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>

#include "base/dtype.h"
#include "gpu/emulated_threads.h"

#define TETRAD_DEVICE inline
#define TETRAD_KERNEL(name, Args, threads) inline void name(const Args& args)
#define TETRAD_LONE_KERNEL(name, Args, threads) inline void name(const Args& args)
#define TETRAD_INLINE
#define TETRAD_UNROLL
#define TETRAD_NO_UNROLL

namespace tetrad::gpu {

inline uint32_t thread_index() {
  return emulated_thread().index;
}
inline uint32_t block_x() {
  return emulated_thread().block[0];
}
inline uint32_t block_y() {
  return emulated_thread().block[1];
}
inline uint32_t block_z() {
  return emulated_thread().block[2];
}
inline uint32_t grid_x() {
  return emulated_thread().grid_x;
}

inline void sync_block() {
  emulated_thread().wait_for_block();
}
inline void sync_warp() {
  emulated_thread().wait_for_warp("sync_warp", nullptr, nullptr);
}

inline char* shared_memory() {
  return emulated_thread().shared_memory;
}

inline void wait_for_launches_before() {}
inline void let_next_launch_begin() {}

struct EmulatedShuffle {
  uint32_t value;
  uint32_t from_lane;
  uint32_t result;
};
inline uint32_t shuffle(uint32_t value, uint32_t from_lane) {
  EmulatedShuffle mine{value, from_lane % 32, 0};
  emulated_thread().wait_for_warp("shuffle", &mine, [](void* const(&lanes)[32]) {
    for (void* const lane : lanes) {
      auto& to = *static_cast<EmulatedShuffle*>(lane);
      to.result = static_cast<EmulatedShuffle*>(lanes[to.from_lane])->value;
    }
  });
  return mine.result;
}
inline float shuffle(float value, uint32_t from_lane) {
  return std::bit_cast<float>(shuffle(std::bit_cast<uint32_t>(value), from_lane));
}
inline uint32_t shuffle_xor(uint32_t value, uint32_t mask) {
  return shuffle(value, (thread_index() % 32) ^ mask);
}
inline float shuffle_xor(float value, uint32_t mask) {
  return shuffle(value, (thread_index() % 32) ^ mask);
}

inline uint32_t same_in_warp(uint32_t value) {
  return value;
}

inline float larger(float a, float b) {
  return std::fmax(a, b);
}
inline float smaller(float a, float b) {
  return std::fmin(a, b);
}
inline float fused_multiply_add(float a, float b, float c) {
  return std::fma(a, b, c);
}
inline float square_root(float x) {
  return std::sqrt(x);
}
inline float divide(float a, float b) {
  return a / b;
}
inline float divide_nearly(float a, float b) {
  return divide(a, b);
}
inline float power_of_two(float x) {
  return std::exp2(x);
}
inline float power_of_two_for_half(float x) {
  return std::exp2(x);
}
inline float round_up(float x) {
  return std::ceil(x);
}

template <uint32_t kWhich>
uint32_t double_half(uint32_t word) {
  return (word >> 16 * kWhich & 0xFFFFu) * 0x10001u;
}

inline float half_to_float(uint16_t bits) {
  return f16_to_float(bits);
}
inline uint16_t float_to_half(float x) {
  return float_to_f16(std::fmin(std::fmax(x, -65504.0f), 65504.0f));
}
inline uint32_t floats_to_halves(float low, float high) {
  return float_to_half(low) | static_cast<uint32_t>(float_to_half(high)) << 16;
}
inline uint32_t small_floats_to_halves(float low, float high) {
  return float_to_f16(low) | static_cast<uint32_t>(float_to_f16(high)) << 16;
}
/// The product of two halves is exact in float, so it is rounded once.
inline uint32_t multiply_halves(uint32_t a, uint32_t b) {
  const auto product = [&](uint32_t shift) {
    return static_cast<uint32_t>(float_to_f16(f16_to_float(static_cast<uint16_t>(a >> shift)) *
                                              f16_to_float(static_cast<uint16_t>(b >> shift))))
           << shift;
  };
  return product(0) | product(16);
}

inline uint32_t floats_to_e4m3(float low, float high) {
  return float_to_f8_e4m3(low) | static_cast<uint32_t>(float_to_f8_e4m3(high)) << 8;
}

inline void load_once(uint32_t (&to)[4], const void* from) {
  emulated_thread().check_whole_16(from);
  std::memcpy(to, from, 16);
}
inline void prefetch_l2(const void*) {}

inline void keep_order() {}

inline void copy_16_async(void* shared, const void* global) {
  emulated_thread().check_whole_16(shared);
  emulated_thread().check_whole_16(global);
  std::memcpy(shared, global, 16);
}
inline void end_copy_group() {}
template <int kPending>
void wait_for_copy_groups() {}

inline void init_arrivals(uint64_t* arrivals) {
  *arrivals = 0;
}
inline void copy_bulk(void* shared, const void* global, uint32_t bytes, uint64_t* arrivals) {
  emulated_thread().begin_copy(shared, global, bytes, arrivals);
}
inline void wait_for_arrival(uint64_t* arrivals, uint32_t parity) {
  emulated_thread().wait_for_copy(arrivals, parity);
}
inline bool has_arrived(uint64_t* arrivals, uint32_t parity) {
  return *arrivals % 2 != parity;
}
inline void init_arrivals_of(uint64_t* arrivals, uint32_t count) {
  *arrivals = EmulatedThread::arrivals_of(count);
}
inline bool is_last_arrival(uint64_t* arrivals) {
  return emulated_thread().arrive(arrivals);
}
inline void arrive(uint64_t* arrivals) {
  emulated_thread().arrive(arrivals);
}
inline void arrive_with_copies(uint64_t* arrivals) {
  arrive(arrivals);
}
inline void leave_to_copies() {}
inline void load_shared_16_if(bool wanted, uint32_t (&to)[4], const void* from) {
  if (!wanted) return;
  emulated_thread().check_whole_16(from);
  std::memcpy(to, from, 16);
}
inline uint32_t byte_above(uint32_t word, uint32_t byte, uint32_t low) {
  return (word >> 8 * byte & 0xFFu) << 8 | low;
}

inline uint32_t computed_here(uint32_t value) {
  return value;
}

inline void add_in_memory(float* to, float value) {
  *to += value;
}
inline void fence_device() {}
inline float load_fresh(const float* from) {
  return *from;
}
inline uint32_t load_fresh(const uint32_t* from) {
  return *from;
}
inline uint32_t atomic_increment(uint32_t* counter) {
  return (*counter)++;
}
inline void store_fresh(uint32_t* to, uint32_t value) {
  *to = value;
}
inline void look_again(uint32_t&) {
  emulated_thread().look_again();
}

// Other emulated GPUs are other threads, or processes, which run at the same time.
inline uint32_t load_acquire_system(const uint32_t* from) {
  return __atomic_load_n(from, __ATOMIC_ACQUIRE);
}
inline void store_release_system(uint32_t* to, uint32_t value) {
  __atomic_store_n(to, value, __ATOMIC_RELEASE);
}
inline void load_system_16(uint32_t (&to)[4], const void* from) {
  emulated_thread().check_whole_16(from);
  std::memcpy(to, from, 16);
}
inline void store_system_8_twice(void* to, uint64_t first, uint64_t second) {
  auto* words = static_cast<uint64_t*>(to);
  __atomic_store_n(words, first, __ATOMIC_RELAXED);
  __atomic_store_n(words + 1, second, __ATOMIC_RELAXED);
}
inline void load_system_8_twice(uint64_t (&to)[2], const void* from) {
  const auto* words = static_cast<const uint64_t*>(from);
  to[0] = __atomic_load_n(words, __ATOMIC_RELAXED);
  to[1] = __atomic_load_n(words + 1, __ATOMIC_RELAXED);
}
inline uint64_t nanoseconds() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}
inline void pause_thread() {
  std::this_thread::yield();
}

/// d += a b, each element in the order of k; compilers take several tokens at a time. It touches
/// nothing but whole matrices, and a sanitizer would take half of an emulation's time for it.
template <uint32_t kTokens>
__attribute__((no_sanitize("address", "undefined"))) void multiply_add_matrices(
    double (&d)[16][kTokens], const double (&a)[16][16], const double (&b)[16][kTokens]) {
  for (uint32_t row = 0; row < 16; ++row) {
    for (uint32_t k = 0; k < 16; ++k) {
      for (uint32_t token = 0; token < kTokens; ++token)
        d[row][token] += a[row][k] * b[k][token];
    }
  }
}

/// D += A B by the definition, A and B put together from what the lanes hold.
template <class F>
void emulate_multiply_add(float (&d)[F::kD], const uint32_t (&a)[F::kA],
                          const uint32_t (&b)[F::kB]) {
  struct Lane {
    float* d;
    const uint32_t* a;
    const uint32_t* b;
  } mine{d, a, b};
  emulated_thread().wait_for_warp("multiply_add", &mine, [](void* const(&lanes)[32]) {
    const auto half = [](const uint32_t* words, uint32_t i) {
      return f16_to_float(static_cast<uint16_t>(words[i / 2] >> 16 * (i % 2)));
    };
    double a_matrix[16][16];
    double b_matrix[16][F::kTokens];
    double d_matrix[16][F::kTokens];
    for (uint32_t l = 0; l < 32; ++l) {
      const Lane& lane = *static_cast<const Lane*>(lanes[l]);
      for (uint32_t i = 0; i < F::kRowsOfLane; ++i) {
        for (uint32_t k = 0; k < F::kColumnsOfLane; ++k)
          a_matrix[F::a_row(l, i)][F::first_k(l) + k] =
              half(lane.a, 2 * F::a_register(i, k / 2) + k % 2);
      }
      for (uint32_t k = 0; k < F::kColumnsOfLane; ++k)
        b_matrix[F::first_k(l) + k][F::b_token(l)] = half(lane.b, k);
      for (uint32_t i = 0; i < F::kD; ++i)
        d_matrix[F::d_row(l, i)][F::d_token(l, i)] = lane.d[i];
    }
    multiply_add_matrices(d_matrix, a_matrix, b_matrix);
    for (uint32_t l = 0; l < 32; ++l) {
      const Lane& lane = *static_cast<const Lane*>(lanes[l]);
      for (uint32_t i = 0; i < F::kD; ++i)
        lane.d[i] = static_cast<float>(d_matrix[F::d_row(l, i)][F::d_token(l, i)]);
    }
  });
}

/// The transpose of an 8 x 8 matrix of halves of which lane 4 g + c holds (g, 2c) and (g, 2c + 1).
inline uint32_t emulate_transpose_8x8(uint32_t mine) {
  struct Lane {
    uint32_t in;
    uint32_t out;
  } lane{mine, 0};
  emulated_thread().wait_for_warp("transpose", &lane, [](void* const(&lanes)[32]) {
    uint32_t matrix[8][8];
    for (uint32_t l = 0; l < 32; ++l) {
      const uint32_t in = static_cast<Lane*>(lanes[l])->in;
      matrix[l / 4][l % 4 * 2] = in & 0xFFFFu;
      matrix[l / 4][l % 4 * 2 + 1] = in >> 16;
    }
    for (uint32_t l = 0; l < 32; ++l)
      static_cast<Lane*>(lanes[l])->out = matrix[l % 4 * 2][l / 4] | matrix[l % 4 * 2 + 1][l / 4]
                                                                         << 16;
  });
  return lane.out;
}

inline uint32_t ballot(bool mine) {
  struct Lane {
    bool in;
    uint32_t out;
  } lane{mine, 0};
  emulated_thread().wait_for_warp("ballot", &lane, [](void* const(&lanes)[32]) {
    uint32_t all = 0;
    for (uint32_t l = 0; l < 32; ++l)
      all |= static_cast<uint32_t>(static_cast<Lane*>(lanes[l])->in) << l;
    for (void* const l : lanes)
      static_cast<Lane*>(l)->out = all;
  });
  return lane.out;
}

/// The other bytes are what no kernel may depend on.
inline uint32_t bytes_above(uint32_t a, uint32_t i, uint32_t b, uint32_t j) {
  return (a >> 8 * i & 0xFFu) << 8 | (b >> 8 * j & 0xFFu) << 24 | 0x00A5005Au;
}

}  // namespace tetrad::gpu
