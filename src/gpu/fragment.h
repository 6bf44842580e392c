#pragma once

// A matrix unit's tile, D += A B with float32 sums of binary16 products: A is 16 rows of what is
// streamed (weights, keys, values), B is kTokens columns of what meets it (activations, queries).
// Everything that kernels need to know about who holds what is named here, so that one kernel
// source serves both machines:
//
//   NvidiaFragment   mma.sync m16n8k16, 8 tokens a tile; for many tokens on sm_90a wgmma
//                    (warpgroup.h)
//   Gfx12Fragment    v_wmma_f32_16x16x16_f16, 16 tokens a tile
//
// Columns of A and rows of B (k) may be numbered at will as long as both agree, and here each lane
// owns consecutive ones: so a lane's share of a row of A is one load.

#include "gpu/dialect.h"

namespace tetrad::gpu {

/// Lane l = 4 g + c. PTX ISA, "Matrix Fragments for mma.m16n8k16", with the columns 2c, 2c+1, 2c+8
/// and 2c+9 there renamed 4c to 4c+3.
struct NvidiaFragment {
  static constexpr uint32_t kTokens = 8;
  static constexpr uint32_t kA = 4;  // registers of two halves
  static constexpr uint32_t kB = 2;
  static constexpr uint32_t kD = 4;  // registers of a float
  /// Rows of A a lane holds a part of, and how many consecutive k of each.
  static constexpr uint32_t kRowsOfLane = 2;
  /// Tokens of D a lane holds a part of: D's register i is of the (i % kTokensOfLane)th.
  static constexpr uint32_t kTokensOfLane = 2;
  /// Lanes l ^ m, for all m made of these bits, hold the other rows of a lane's tokens.
  static constexpr uint32_t kRowLanes = 4 | 8 | 16;
  static constexpr uint32_t kColumnsOfLane = 4;

  TETRAD_DEVICE static uint32_t a_row(uint32_t lane, uint32_t i) { return lane / 4 + 8 * i; }
  TETRAD_DEVICE static uint32_t first_k(uint32_t lane) { return lane % 4 * 4; }
  /// The register of A that holds columns 2j and 2j + 1 of those that the lane has of its row i.
  static constexpr uint32_t a_register(uint32_t i, uint32_t j) { return 2 * j + i; }
  TETRAD_DEVICE static uint32_t b_token(uint32_t lane) { return lane / 4; }
  TETRAD_DEVICE static uint32_t d_row(uint32_t lane, uint32_t i) { return lane / 4 + i / 2 * 8; }
  TETRAD_DEVICE static uint32_t d_token(uint32_t lane, uint32_t i) { return lane % 4 * 2 + i % 2; }

  TETRAD_DEVICE static void multiply_add(float (&d)[kD], const uint32_t (&a)[kA],
                                         const uint32_t (&b)[kB]) {
#if defined(__NVPTX__)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#elif !defined(__AMDGCN__)
    emulate_multiply_add<NvidiaFragment>(d, a, b);
#endif
  }

  /// B of two products one after the other from shared memory that has a token's k in PTX's order:
  /// piece_at(i) is where the i-th 16 bytes of the token row_to_load(lane) are. By all lanes; in
  /// one instruction lane 8 i + t tells where piece i of token t is, and nothing else.
#if defined(__NVPTX__)
  TETRAD_DEVICE static uint32_t row_to_load(uint32_t lane) { return lane % 8; }
#else
  TETRAD_DEVICE static uint32_t row_to_load(uint32_t lane) { return b_token(lane); }
#endif
  template <class PieceAt>
  TETRAD_DEVICE static void load_four(uint32_t (&b)[2][kB], const PieceAt& piece_at) {
#if defined(__NVPTX__)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(b[0][0]), "=r"(b[0][1]), "=r"(b[1][0]), "=r"(b[1][1])
                 : "r"(shared_address(piece_at(lane() / 8)))
                 : "memory");
#elif !defined(__AMDGCN__)
    for (uint32_t i = 0; i < 4; ++i)
      __builtin_memcpy(&b[i / 2][i % 2],
                       reinterpret_cast<const char*>(piece_at(i)) + lane() % 4 * 4, 4);
#endif
  }

  /// D as the B of another product whose k are D's rows; row_of_k says in which order they stand.
  /// `d[i]`: D's registers 2i and 2i + 1 as halves.
  TETRAD_DEVICE static void as_b(uint32_t (&b)[kB], [[maybe_unused]] const uint32_t (&d)[kD / 2]) {
    // d[0] is row g, tokens 2c and 2c + 1; d[1] is row g + 8.
#if defined(__NVPTX__)
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(b[0]) : "r"(d[0]));
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(b[1]) : "r"(d[1]));
#elif !defined(__AMDGCN__)
    b[0] = emulate_transpose_8x8(d[0]);
    b[1] = emulate_transpose_8x8(d[1]);
#endif
  }
  /// After as_b: the row of D that stands where B's k is first_k(lane) + j.
  TETRAD_DEVICE static uint32_t row_of_k(uint32_t lane, uint32_t j) {
    return lane % 4 * 2 + j % 2 + j / 2 * 8;
  }
};

/// Lane l = 16 h + c (rdna4 spec, section 2.1). Compiled, emulated, never run on the hardware.
struct Gfx12Fragment {
  static constexpr uint32_t kTokens = 16;
  static constexpr uint32_t kA = 4;
  static constexpr uint32_t kB = 4;
  static constexpr uint32_t kD = 8;
  static constexpr uint32_t kRowsOfLane = 1;
  static constexpr uint32_t kTokensOfLane = 1;
  static constexpr uint32_t kRowLanes = 16;
  static constexpr uint32_t kColumnsOfLane = 8;

  TETRAD_DEVICE static uint32_t a_row(uint32_t lane, uint32_t) { return lane % 16; }
  TETRAD_DEVICE static uint32_t first_k(uint32_t lane) { return lane / 16 * 8; }
  static constexpr uint32_t a_register(uint32_t, uint32_t j) { return j; }
  TETRAD_DEVICE static uint32_t b_token(uint32_t lane) { return lane % 16; }
  TETRAD_DEVICE static uint32_t row_to_load(uint32_t lane) { return b_token(lane); }
  TETRAD_DEVICE static uint32_t d_row(uint32_t lane, uint32_t i) { return lane / 16 * 8 + i; }
  TETRAD_DEVICE static uint32_t d_token(uint32_t lane, uint32_t) { return lane % 16; }

  TETRAD_DEVICE static void multiply_add(float (&d)[kD], const uint32_t (&a)[kA],
                                         const uint32_t (&b)[kB]) {
#if defined(__AMDGCN__)
    typedef _Float16 Halves __attribute__((ext_vector_type(8)));
    typedef float Floats __attribute__((ext_vector_type(8)));
    struct Registers {
      uint32_t word[4];
    };
    const Registers a_words = {{a[0], a[1], a[2], a[3]}};
    const Registers b_words = {{b[0], b[1], b[2], b[3]}};
    Floats sums = {d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]};
    sums = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(
        __builtin_bit_cast(Halves, a_words), __builtin_bit_cast(Halves, b_words), sums);
    TETRAD_UNROLL
    for (int i = 0; i < 8; ++i)
      d[i] = sums[i];
#elif !defined(__NVPTX__)
    emulate_multiply_add<Gfx12Fragment>(d, a, b);
#endif
  }

  TETRAD_DEVICE static void as_b(uint32_t (&b)[kB], const uint32_t (&d)[kD / 2]) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kB; ++i)
      b[i] = d[i];
  }
  TETRAD_DEVICE static uint32_t row_of_k(uint32_t lane, uint32_t j) { return lane / 16 * 8 + j; }
};

}  // namespace tetrad::gpu

// Kernels stand in tetrad::gpu::TETRAD_MACHINE, since the emulation compiles them for both.
#if defined(__AMDGCN__) || defined(TETRAD_EMULATE_GFX12)
#define TETRAD_MACHINE gfx12
namespace tetrad::gpu::gfx12 {
using Fragment = Gfx12Fragment;
}
#else
#define TETRAD_MACHINE nvidia
namespace tetrad::gpu::nvidia {
using Fragment = NvidiaFragment;
}
#endif
