#pragma once

// What a card can do at most: what every speed is a share of.

#include "gpu/warpgroup.h"

namespace tetrad::gpu {

/// Reads `bytes`, a multiple of 16 * 4 * threads of the grid, and writes nothing (or all but
/// never).
struct ReadAllArgs {
  const char* from = nullptr;
  uint64_t bytes = 0;
  uint32_t* out = nullptr;  // [1]
};

/// Each warp does `rounds`, rounded up to kProductSteps, times kProductChains multiply_adds that do
/// not wait for each other, as many of kStagedProductTokens tokens together where the machine can.
struct MultiplyAddArgs {
  uint32_t rounds = 0;
  uint32_t numbers_vary = 0;  // 0: near 1 and -1; 1: of all sizes that weights and activations have
  float* out = nullptr;       // [1]
};
inline constexpr uint32_t kProductChains = 8;
/// One after the other with other numbers.
inline constexpr uint32_t kProductSteps = 4;
inline constexpr uint32_t kStagedProductTokens = 64;
inline constexpr uint32_t kMultiplyAddShared = kStagedProductTokens * 64 * 2;

namespace TETRAD_MACHINE {

TETRAD_KERNEL(read_all, ReadAllArgs, 512) {
  wait_for_launches_before();
  const uint64_t step = static_cast<uint64_t>(grid_x()) * 512 * 16;
  const uint64_t first = (static_cast<uint64_t>(block_x()) * 512 + thread_index()) * 16;
  uint32_t mixed_words = 0;
  for (uint64_t at = first; at < args.bytes; at += 4 * step) {
    uint32_t words[4][4] = {};
    TETRAD_UNROLL
    for (uint32_t i = 0; i < 4; ++i) {
      if (at + i * step < args.bytes) load_once(words[i], args.from + at + i * step);
    }
    TETRAD_UNROLL
    for (const auto& four : words)
      mixed_words ^= four[0] ^ four[1] ^ four[2] ^ four[3];
  }
  if (mixed_words == 0x9E3779B9u) *args.out = mixed_words;
}

/// Two halves that the place and nothing else decides. What takes power are bits that change: of
/// zeros a card multiplies most, then of numbers near 1 with random last bits, and least of those
/// that spread as weights do, here the sums of two even distributions.
TETRAD_DEVICE uint32_t halves_for_place(uint32_t place, bool vary, uint32_t near) {
  const uint32_t bits = place * 2246822519u;
  if (!vary) return near + (bits & 0x03FF03FFu);
  uint32_t hash = bits ^ bits >> 15;
  hash *= 2654435761u;
  hash ^= hash >> 13;
  const auto byte = [&](uint32_t i)
                        TETRAD_INLINE { return static_cast<float>(hash >> 8 * i & 0xFFu); };
  constexpr float kUnit = 1.0f / 128;
  return floats_to_halves((byte(0) - byte(1)) * kUnit, (byte(2) - byte(3)) * kUnit);
}

TETRAD_KERNEL(multiply_add_peak, MultiplyAddArgs, 256) {
  wait_for_launches_before();
  const bool vary = args.numbers_vary != 0;
  const auto word_of_b = [&](uint32_t place)
                             TETRAD_INLINE { return halves_for_place(place, vary, 0xB8003800u); };
  uint32_t a[kProductSteps][Fragment::kA];
  TETRAD_UNROLL
  for (uint32_t step = 0; step < kProductSteps; ++step) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kA; ++i)
      a[step][i] = halves_for_place((thread_index() * kProductSteps + step) * Fragment::kA + i,
                                    vary, 0x38003800u);
  }
  float sums[kProductChains][Fragment::kD] = {};
  if constexpr (kHasWarpgroups) {
    // Compiled, and never run, where there are none.
    static_assert(!kHasWarpgroups || kProductChains * Fragment::kTokens == kStagedProductTokens);
    char* stage = shared_memory();
    for (uint32_t at = thread_index(); at < kMultiplyAddShared / 4; at += 256)
      reinterpret_cast<uint32_t*>(stage)[at] = word_of_b(at);
    show_to_warpgroups();
    sync_block();
    for (uint32_t round = 0; round < args.rounds; round += kProductSteps) {
      begin_products();
      TETRAD_UNROLL
      for (uint32_t step = 0; step < kProductSteps; ++step)
        multiply_staged(sums, a[step], stage, step);
      end_products();
      wait_for_products();
    }
    wait_for_sums(sums);
  } else {
    uint32_t b[Fragment::kB];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kB; ++i)
      b[i] = word_of_b(thread_index() * Fragment::kB + i);
    for (uint32_t round = 0; round < args.rounds; round += kProductSteps) {
      TETRAD_UNROLL
      for (const auto& of_step : a) {
        TETRAD_UNROLL
        for (auto& sum : sums)
          Fragment::multiply_add(sum, of_step, b);
      }
    }
  }
  float total = 0;
  TETRAD_UNROLL
  for (const auto& sum : sums) {
    TETRAD_UNROLL
    for (const float value : sum)
      total += value;
  }
  if (total == 1.0f) *args.out = total;
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
