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

/// Whether what is compiled has them; the emulation has all products done at once.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || \
    (!defined(__NVPTX__) && !defined(__AMDGCN__) && !defined(TETRAD_EMULATE_GFX12))
#define TETRAD_HAS_WARPGROUPS 1
#else
#define TETRAD_HAS_WARPGROUPS 0
#endif
/// Whether it never runs without them: the emulation also is a machine that has none.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define TETRAD_ONLY_WARPGROUPS 1
#else
#define TETRAD_ONLY_WARPGROUPS 0
#endif

namespace tetrad::gpu {
namespace TETRAD_MACHINE {

inline constexpr bool kHasWarpgroups = TETRAD_HAS_WARPGROUPS;

/// Where the `piece`th 16 bytes of a token's stretch of 64 columns stand in a stage: one piece of
/// eight tokens, which is loaded together, is then in different banks, without space between the
/// tokens. It is what wgmma calls a swizzle of 128 bytes.
TETRAD_DEVICE constexpr uint32_t turned_piece(uint32_t token, uint32_t piece) {
  return piece ^ token % 8;
}
/// That place.
template <class Char>
TETRAD_DEVICE Char* staged_piece(Char* stage, uint32_t token, uint32_t piece) {
  return stage + token * 128 + turned_piece(token, piece) * 16;
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

/// Four warps need no more than so many registers a thread from here on, or want so many, which
/// others of the block must have given back: of a kernel whose threads could have 168.
template <uint32_t kRegisters>
TETRAD_DEVICE void give_registers_back() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <uint32_t kRegisters>
TETRAD_DEVICE void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

/// What this thread wrote to shared memory before is seen by the products that come after the
/// block's next meeting, or this thread's next arrival; what others wrote or copied, for whose
/// arrival it has waited, by its own products after this.
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
/// What reads the sums is not moved to before this.
template <uint32_t kTokenTiles>
TETRAD_DEVICE void hold_sums(float (&sums)[kTokenTiles][4]) {
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kTokenTiles * 4; ++i)
    asm volatile("" : "+f"(sums[i / 4][i % 4])::"memory");
}
/// wait_for_products(), and the sums can be read.
template <uint32_t kTokenTiles>
TETRAD_DEVICE void wait_for_sums(float (&sums)[kTokenTiles][4]) {
  wait_for_products();
  hold_sums(sums);
}
template <uint32_t kRowTiles, uint32_t kTokenTiles>
TETRAD_DEVICE void wait_for_sums(float (&sums)[kRowTiles][kTokenTiles][4]) {
  wait_for_products();
  TETRAD_UNROLL
  for (auto& of_row : sums)
    hold_sums(of_row);
}

// The operands of an instruction for so many tiles of tokens: as text, and as what they are.
#define TETRAD_TEXT_2 "%0, %1, %2, %3, %4, %5, %6, %7"
#define TETRAD_TEXT_4 TETRAD_TEXT_2 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define TETRAD_TEXT_6 TETRAD_TEXT_4 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define TETRAD_TEXT_7 TETRAD_TEXT_6 ", %24, %25, %26, %27"
#define TETRAD_TEXT_8 \
  TETRAD_TEXT_4       \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define TETRAD_TEXT_9 TETRAD_TEXT_8 ", %32, %33, %34, %35"
#define TETRAD_TEXT_10 TETRAD_TEXT_8 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define TETRAD_TEXT_12 TETRAD_TEXT_10 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define TETRAD_TEXT_14 TETRAD_TEXT_12 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define TETRAD_TEXT_16 TETRAD_TEXT_14 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define TETRAD_TEXT_17 TETRAD_TEXT_16 ", %64, %65, %66, %67"
#define TETRAD_SUMS_1(to, n) to(sums[n][0]), to(sums[n][1]), to(sums[n][2]), to(sums[n][3])
#define TETRAD_SUMS_2(to, n) TETRAD_SUMS_1(to, n), TETRAD_SUMS_1(to, n + 1)
#define TETRAD_SUMS_4(to, n) TETRAD_SUMS_2(to, n), TETRAD_SUMS_2(to, n + 2)
#define TETRAD_SUMS_6(to, n) TETRAD_SUMS_4(to, n), TETRAD_SUMS_2(to, n + 4)
#define TETRAD_SUMS_7(to, n) TETRAD_SUMS_6(to, n), TETRAD_SUMS_1(to, n + 6)
#define TETRAD_SUMS_8(to, n) TETRAD_SUMS_4(to, n), TETRAD_SUMS_4(to, n + 4)
#define TETRAD_SUMS_9(to, n) TETRAD_SUMS_8(to, n), TETRAD_SUMS_1(to, n + 8)
#define TETRAD_SUMS_10(to, n) TETRAD_SUMS_8(to, n), TETRAD_SUMS_2(to, n + 8)
#define TETRAD_SUMS_12(to, n) TETRAD_SUMS_8(to, n), TETRAD_SUMS_4(to, n + 8)
#define TETRAD_SUMS_14(to, n) TETRAD_SUMS_12(to, n), TETRAD_SUMS_2(to, n + 12)
#define TETRAD_SUMS_16(to, n) TETRAD_SUMS_8(to, n), TETRAD_SUMS_8(to, n + 8)
#define TETRAD_SUMS_17(to, n) TETRAD_SUMS_16(to, n), TETRAD_SUMS_1(to, n + 16)
#define TETRAD_ADD(sum) "+f"(sum)
#define TETRAD_SET(sum) "=f"(sum)
// `adds`: 1, or 0 where what was in the sums does not count; a predicate p.
#define TETRAD_PRODUCT(tiles, tokens, adds)                                           \
  "wgmma.mma_async.sync.aligned.m64n" #tokens "k16.f32.f16.f16 {" TETRAD_TEXT_##tiles \
      "}, {%[a0], %[a1], %[a2], %[a3]}, %[b], " #adds ", 1, 1, 0;"
#define TETRAD_FACTORS [a0] "r"(a[0]), [a1] "r"(a[1]), [a2] "r"(a[2]), [a3] "r"(a[3]), [b] "l"(b)
#define TETRAD_MULTIPLY_TILES(tiles, tokens, to, adds) \
  if constexpr (kTokenTiles == tiles)                  \
  asm volatile(TETRAD_PRODUCT(tiles, tokens, adds) : TETRAD_SUMS_##tiles(to, 0) : TETRAD_FACTORS)
#define TETRAD_MULTIPLY_TILES_IF(tiles, tokens)                                                    \
  if constexpr (kTokenTiles == tiles)                                                              \
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %[adds], 0; " TETRAD_PRODUCT(tiles, tokens, p) " }" \
               : TETRAD_SUMS_##tiles(TETRAD_ADD, 0)                                                \
               : TETRAD_FACTORS, [adds] "r"(adds))

/// sums += A B by one instruction. Two of half the tokens would take A twice, which for 32 tokens
/// takes as long as for 64.
template <uint32_t kTokenTiles>
TETRAD_DEVICE void multiply_tiles(float (&sums)[kTokenTiles][4], const uint32_t (&a)[4],
                                  uint64_t b) {
  TETRAD_MULTIPLY_TILES(2, 16, TETRAD_ADD, 1);
  TETRAD_MULTIPLY_TILES(4, 32, TETRAD_ADD, 1);
  TETRAD_MULTIPLY_TILES(6, 48, TETRAD_ADD, 1);
  TETRAD_MULTIPLY_TILES(7, 56, TETRAD_ADD, 1);
  TETRAD_MULTIPLY_TILES(8, 64, TETRAD_ADD, 1);
  TETRAD_MULTIPLY_TILES(9, 72, TETRAD_ADD, 1);
  TETRAD_MULTIPLY_TILES(10, 80, TETRAD_ADD, 1);
  TETRAD_MULTIPLY_TILES(12, 96, TETRAD_ADD, 1);
  TETRAD_MULTIPLY_TILES(14, 112, TETRAD_ADD, 1);
  TETRAD_MULTIPLY_TILES(16, 128, TETRAD_ADD, 1);
  TETRAD_MULTIPLY_TILES(17, 136, TETRAD_ADD, 1);
  static_assert(kTokenTiles == 2 || kTokenTiles == 4 || (kTokenTiles >= 6 && kTokenTiles <= 10) ||
                kTokenTiles == 12 || kTokenTiles == 14 || kTokenTiles == 16 || kTokenTiles == 17);
}
/// sums = A B.
template <uint32_t kTokenTiles>
TETRAD_DEVICE void set_tiles(float (&sums)[kTokenTiles][4], const uint32_t (&a)[4], uint64_t b) {
  TETRAD_MULTIPLY_TILES(9, 72, TETRAD_SET, 0);
  TETRAD_MULTIPLY_TILES(16, 128, TETRAD_SET, 0);
  TETRAD_MULTIPLY_TILES(17, 136, TETRAD_SET, 0);
  static_assert(kTokenTiles == 9 || kTokenTiles == 16 || kTokenTiles == 17);
}

/// sums += A B, or where `adds` is 0 sums = A B.
template <uint32_t kTokenTiles>
TETRAD_DEVICE void multiply_tiles_if(float (&sums)[kTokenTiles][4], const uint32_t (&a)[4],
                                     uint64_t b, uint32_t adds) {
  TETRAD_MULTIPLY_TILES_IF(4, 32);
  TETRAD_MULTIPLY_TILES_IF(6, 48);
  TETRAD_MULTIPLY_TILES_IF(7, 56);
  TETRAD_MULTIPLY_TILES_IF(8, 64);
  TETRAD_MULTIPLY_TILES_IF(9, 72);
  TETRAD_MULTIPLY_TILES_IF(10, 80);
  TETRAD_MULTIPLY_TILES_IF(12, 96);
  TETRAD_MULTIPLY_TILES_IF(14, 112);
  TETRAD_MULTIPLY_TILES_IF(16, 128);
  static_assert(kTokenTiles == 4 || (kTokenTiles >= 6 && kTokenTiles <= 10) || kTokenTiles == 12 ||
                kTokenTiles == 14 || kTokenTiles == 16);
}

#undef TETRAD_MULTIPLY_TILES_IF
#undef TETRAD_MULTIPLY_TILES
#undef TETRAD_FACTORS
#undef TETRAD_PRODUCT
#undef TETRAD_ADD
#undef TETRAD_SET
#undef TETRAD_SUMS_1
#undef TETRAD_SUMS_2
#undef TETRAD_SUMS_4
#undef TETRAD_SUMS_6
#undef TETRAD_SUMS_7
#undef TETRAD_SUMS_8
#undef TETRAD_SUMS_9
#undef TETRAD_SUMS_10
#undef TETRAD_SUMS_12
#undef TETRAD_SUMS_14
#undef TETRAD_SUMS_16
#undef TETRAD_SUMS_17
#undef TETRAD_TEXT_2
#undef TETRAD_TEXT_4
#undef TETRAD_TEXT_6
#undef TETRAD_TEXT_7
#undef TETRAD_TEXT_8
#undef TETRAD_TEXT_9
#undef TETRAD_TEXT_10
#undef TETRAD_TEXT_12
#undef TETRAD_TEXT_14
#undef TETRAD_TEXT_16
#undef TETRAD_TEXT_17

/// Where the columns of a stage from group * 16 on are, as a matrix descriptor (PTX ISA,
/// "wgmma"): rows of 128 bytes with pieces turned, eight of which are 1024 bytes. In words, since
/// what would be carried from one to the other costs an instruction each time.
TETRAD_DEVICE uint64_t staged_columns(const char* stage, uint32_t group) {
  constexpr uint32_t kHigh = uint32_t{1} << 30 | 1024 / 16;
  constexpr uint32_t kLow = uint32_t{1} << 16;
  const uint32_t low = (shared_address(stage) >> 4) + (kLow + group * 2);
  return uint64_t{kHigh} << 32 | low;
}

/// sums += A B, some time before wait_for_products(). `stage`: 64 columns of tokens, 128 bytes a
/// token, whose pieces of 16 bytes are at those of their number ^ token % 8; B is of 16 columns
/// from group * 16 on. `stage` is a multiple of 1024. By the four warps alike, w = 4 n to 4 n + 3.
template <uint32_t kTokenTiles>
TETRAD_DEVICE void multiply_staged(float (&sums)[kTokenTiles][4], const uint32_t (&a)[4],
                                   const char* stage, uint32_t group) {
  multiply_tiles(sums, a, staged_columns(stage, group));
}
/// sums = A B, likewise.
template <uint32_t kTokenTiles>
TETRAD_DEVICE void set_staged(float (&sums)[kTokenTiles][4], const uint32_t (&a)[4],
                              const char* stage, uint32_t group) {
  set_tiles(sums, a, staged_columns(stage, group));
}
/// The one or, where `adds` is 0, the other.
template <uint32_t kTokenTiles>
TETRAD_DEVICE void multiply_staged_if(float (&sums)[kTokenTiles][4], const uint32_t (&a)[4],
                                      const char* stage, uint32_t group, uint32_t adds) {
  multiply_tiles_if(sums, a, staged_columns(stage, group), adds);
}

#else

template <uint32_t>
TETRAD_DEVICE void give_registers_back() {}
template <uint32_t>
TETRAD_DEVICE void take_registers() {}
TETRAD_DEVICE void show_to_warpgroups() {}
TETRAD_DEVICE void begin_products() {}
TETRAD_DEVICE void end_products() {}
TETRAD_DEVICE void wait_for_products() {}
template <class Sums>
TETRAD_DEVICE void wait_for_sums(Sums&) {}
template <uint32_t kTokenTiles>
TETRAD_DEVICE void multiply_staged(float (&sums)[kTokenTiles][Fragment::kD],
                                   const uint32_t (&a)[Fragment::kA], const char* stage,
                                   uint32_t group) {
  for (uint32_t n = 0; n < kTokenTiles; ++n) {
    const uint32_t token = n * Fragment::kTokens + Fragment::b_token(lane());
    uint32_t b[Fragment::kB];
    for (uint32_t i = 0; i < Fragment::kB; ++i) {
      __builtin_memcpy(&b[i], staged_piece(stage, token, group * 2 + i) + lane() % 4 * 4, 4);
    }
    Fragment::multiply_add(sums[n], a, b);
  }
}
template <uint32_t kTokenTiles>
TETRAD_DEVICE void set_staged(float (&sums)[kTokenTiles][Fragment::kD],
                              const uint32_t (&a)[Fragment::kA], const char* stage,
                              uint32_t group) {
  for (auto& of_tile : sums) {
    for (float& sum : of_tile)
      sum = 0;
  }
  multiply_staged(sums, a, stage, group);
}
template <uint32_t kTokenTiles>
TETRAD_DEVICE void multiply_staged_if(float (&sums)[kTokenTiles][Fragment::kD],
                                      const uint32_t (&a)[Fragment::kA], const char* stage,
                                      uint32_t group, uint32_t adds) {
  if (adds == 0) return set_staged(sums, a, stage, group);
  multiply_staged(sums, a, stage, group);
}

#endif

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
