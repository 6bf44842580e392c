#pragma once

// Products of four warps together with what lies in shared memory (PTX ISA, "wgmma"): only sm_90a
// has them. Every warp brings the registers of a tile of its own, as mma.sync wants them, and gets
// its sums as mma.sync gives them; the tokens are read from shared memory while the warps go on.
// On an H200 no sum differed from those of mma.sync in any bit (docs/performance.md). Elsewhere
// these functions do nothing, or what the emulation needs.
//
// PTX leaves to the program what is on its way: registers that a product reads or adds to must not
// be written again, in the same place of a loop either, before wait_for_products(), and where
// several loops of products end in one place the assembler has each product wait for the one before
// (ptxas -v says so).

#include "gpu/fragment.h"

namespace tetrad::gpu {
namespace TETRAD_MACHINE {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

inline constexpr bool kHasWarpgroups = true;

/// What this thread wrote to shared memory before is seen by the products that come after the
/// block's next meeting.
TETRAD_DEVICE void show_to_warpgroups() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
/// Before the first product after registers of products have been written.
TETRAD_DEVICE void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
TETRAD_DEVICE void end_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Until all of this warp's products are there and what they read may be written over.
TETRAD_DEVICE void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}
/// The same, and the sums can be read.
template <uint32_t kRowTiles, uint32_t kTokenTiles>
TETRAD_DEVICE void wait_for_sums(float (&sums)[kRowTiles][kTokenTiles][4]) {
  wait_for_products();
  // What reads them is not moved to before the wait.
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kRowTiles * kTokenTiles * 4; ++i)
    asm volatile("" : "+f"(sums[i / 4 / kTokenTiles][i / 4 % kTokenTiles][i % 4])::"memory");
}

// The operands of an instruction for so many tiles of tokens: as text, and as what they are.
#define TETRAD_TEXT_2 "%0, %1, %2, %3, %4, %5, %6, %7"
#define TETRAD_TEXT_4 TETRAD_TEXT_2 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define TETRAD_TEXT_8 \
  TETRAD_TEXT_4       \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define TETRAD_TEXT_10 TETRAD_TEXT_8 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define TETRAD_TEXT_12 TETRAD_TEXT_10 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define TETRAD_TEXT_16 \
  TETRAD_TEXT_12       \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define TETRAD_SUMS_1(n) "+f"(sums[n][0]), "+f"(sums[n][1]), "+f"(sums[n][2]), "+f"(sums[n][3])
#define TETRAD_SUMS_2(n) TETRAD_SUMS_1(n), TETRAD_SUMS_1(n + 1)
#define TETRAD_SUMS_4(n) TETRAD_SUMS_2(n), TETRAD_SUMS_2(n + 2)
#define TETRAD_SUMS_8(n) TETRAD_SUMS_4(n), TETRAD_SUMS_4(n + 4)
#define TETRAD_SUMS_10(n) TETRAD_SUMS_8(n), TETRAD_SUMS_2(n + 8)
#define TETRAD_SUMS_12(n) TETRAD_SUMS_8(n), TETRAD_SUMS_4(n + 8)
#define TETRAD_SUMS_16(n) TETRAD_SUMS_8(n), TETRAD_SUMS_8(n + 8)
#define TETRAD_MULTIPLY_TILES(tiles, tokens)                                                       \
  if constexpr (kTokenTiles == tiles)                                                              \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" #tokens "k16.f32.f16.f16 {" TETRAD_TEXT_##tiles \
               "}, {%[a0], %[a1], %[a2], %[a3]}, %[b], 1, 1, 1, 0;"                                \
               : TETRAD_SUMS_##tiles(0)                                                            \
               : [a0] "r"(a[0]), [a1] "r"(a[1]), [a2] "r"(a[2]), [a3] "r"(a[3]), [b] "l"(b))

/// sums += A B by one instruction. Two of half the tokens would take A twice, which for 32 tokens
/// takes as long as for 64.
template <uint32_t kTokenTiles>
TETRAD_DEVICE void multiply_tiles(float (&sums)[kTokenTiles][4], const uint32_t (&a)[4],
                                  uint64_t b) {
  TETRAD_MULTIPLY_TILES(2, 16);
  TETRAD_MULTIPLY_TILES(4, 32);
  TETRAD_MULTIPLY_TILES(8, 64);
  TETRAD_MULTIPLY_TILES(10, 80);
  TETRAD_MULTIPLY_TILES(12, 96);
  TETRAD_MULTIPLY_TILES(16, 128);
  static_assert(kTokenTiles == 2 || kTokenTiles == 4 || kTokenTiles == 8 || kTokenTiles == 10 ||
                kTokenTiles == 12 || kTokenTiles == 16);
}

#undef TETRAD_MULTIPLY_TILES
#undef TETRAD_SUMS_1
#undef TETRAD_SUMS_2
#undef TETRAD_SUMS_4
#undef TETRAD_SUMS_8
#undef TETRAD_SUMS_10
#undef TETRAD_SUMS_12
#undef TETRAD_SUMS_16
#undef TETRAD_TEXT_2
#undef TETRAD_TEXT_4
#undef TETRAD_TEXT_8
#undef TETRAD_TEXT_10
#undef TETRAD_TEXT_12
#undef TETRAD_TEXT_16

/// sums += A B, some time before wait_for_products(). `stage`: 64 columns of tokens, 128 bytes a
/// token, whose pieces of 16 bytes are at those of their number ^ token % 8; B is of 16 columns
/// from group * 16 on. `stage` is a multiple of 1024. By the four warps alike, w = 4 n to 4 n + 3.
template <uint32_t kTokenTiles>
TETRAD_DEVICE void multiply_staged(float (&sums)[kTokenTiles][4], const uint32_t (&a)[4],
                                   const char* stage, uint32_t group) {
  constexpr uint64_t kEightTokens = 1024 / 16;
  constexpr uint64_t kDescriptor = uint64_t{1} << 62 | kEightTokens << 32 | uint64_t{1} << 16;
  multiply_tiles(sums, a, kDescriptor | (shared_address(stage) + group * 32) / 16);
}

#else

/// The emulation has them done at once.
inline constexpr bool kHasWarpgroups = kIsEmulated && Fragment::kTokens == 8;
TETRAD_DEVICE void show_to_warpgroups() {}
TETRAD_DEVICE void begin_products() {}
TETRAD_DEVICE void end_products() {}
TETRAD_DEVICE void wait_for_products() {}
template <uint32_t kRowTiles, uint32_t kTokenTiles>
TETRAD_DEVICE void wait_for_sums(float (&)[kRowTiles][kTokenTiles][Fragment::kD]) {}
template <uint32_t kTokenTiles>
TETRAD_DEVICE void multiply_staged(float (&sums)[kTokenTiles][Fragment::kD],
                                   const uint32_t (&a)[Fragment::kA], const char* stage,
                                   uint32_t group) {
  for (uint32_t n = 0; n < kTokenTiles; ++n) {
    const uint32_t token = n * Fragment::kTokens + Fragment::b_token(lane());
    uint32_t b[Fragment::kB];
    for (uint32_t i = 0; i < Fragment::kB; ++i) {
      const uint32_t piece = (group * 2 + i) ^ token % 8;
      __builtin_memcpy(&b[i], stage + token * 128 + piece * 16 + lane() % 4 * 4, 4);
    }
    Fragment::multiply_add(sums[n], a, b);
  }
}

#endif

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
