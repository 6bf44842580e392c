#pragma once

// Weights as they lie in a checkpoint into the tiles that the kernels read, once when a model is
// loaded; and random tiles, for benchmarks.

#include "kernels/gpu/packed_matrix.h"

namespace tetrad::gpu {

/// mxfp4_16 (WeightMatrix, checkpoint/weight.h) into tiles of codes. A warp a tile, 8 a block.
struct PackCodesArgs {
  const uint8_t* codes = nullptr;    // [rows, cols / 2]
  const uint16_t* scales = nullptr;  // FP16 [rows, cols / 16]
  char* tiles = nullptr;
  uint32_t rows = 0;
  uint32_t cols = 0;  // a multiple of 16
};

/// BF16 or FP16 into tiles of halves; what is beyond ±65504 is that. A warp a tile, 8 a block.
struct PackHalvesArgs {
  const uint16_t* weights = nullptr;  // [rows, cols]
  char* tiles = nullptr;
  uint32_t rows = 0;
  uint32_t cols = 0;
  uint32_t is_bf16 = 1;
};

/// Tiles of codes with random codes, and scales from `scale` up to twice that: about what weights
/// of a standard deviation of 90 * scale have.
struct RandomTilesArgs {
  char* tiles = nullptr;
  uint64_t num_tiles = 0;
  uint32_t scale_bits = 0;  // of a half
  uint32_t seed = 0;
};

/// BF16 numbers about evenly from -2 to 2.
struct RandomEmbeddingsArgs {
  uint16_t* to = nullptr;
  uint64_t count = 0;
  uint32_t seed = 0;
};

namespace TETRAD_MACHINE {

TETRAD_KERNEL(pack_codes, PackCodesArgs, 256) {
  wait_for_launches_before();
  constexpr uint32_t kRowBytes = Fragment::kColumnsOfLane / 2;
  const uint32_t column_tiles = tiles_for(args.cols, kTileColumns);
  const uint64_t tile = static_cast<uint64_t>(block_x()) * 8 + warp();
  if (tile >= static_cast<uint64_t>(tiles_for(args.rows, kTileRows)) * column_tiles) return;
  const auto first_row = static_cast<uint32_t>(tile / column_tiles * kTileRows);
  const auto first_column = static_cast<uint32_t>(tile % column_tiles * kTileColumns);
  char* to = args.tiles + tile * kCodeTileBytes;
  uint32_t codes[kTileGroups] = {};
  for (uint32_t i = 0; i < Fragment::kRowsOfLane; ++i) {
    const uint32_t row = first_row + Fragment::a_row(lane(), i);
    for (uint32_t group = 0; group < kTileGroups; ++group) {
      const uint32_t column = first_column + group * 16;
      if (row >= args.rows || column >= args.cols) continue;
      const uint8_t* from = args.codes + static_cast<uint64_t>(row) * (args.cols / 2) +
                            (column + Fragment::first_k(lane())) / 2;
      for (uint32_t b = 0; b < kRowBytes; ++b)
        codes[group] |= static_cast<uint32_t>(from[b]) << 8 * (i * kRowBytes + b);
    }
  }
  *reinterpret_cast<Words4*>(to + lane() * 16) = {{codes[0], codes[1], codes[2], codes[3]}};

  uint16_t* scales = reinterpret_cast<uint16_t*>(to + 512);
  for (uint32_t i = lane(); i < kTileRows * kTileGroups; i += 32) {
    const uint32_t slot = i / kTileGroups;  // [rows of a_row(lane, 0)][kRowsOfLane]
    constexpr uint32_t kOwners = kTileRows / Fragment::kRowsOfLane;
    const uint32_t row =
        first_row + slot / Fragment::kRowsOfLane + slot % Fragment::kRowsOfLane * kOwners;
    const uint32_t group = first_column / 16 + i % kTileGroups;
    scales[i] = row < args.rows && group * 16 < args.cols
                    ? args.scales[static_cast<uint64_t>(row) * (args.cols / 16) + group]
                    : uint16_t{0};
  }
}

TETRAD_KERNEL(pack_halves, PackHalvesArgs, 256) {
  wait_for_launches_before();
  const uint32_t column_tiles = tiles_for(args.cols, kTileColumns);
  const uint64_t tile = static_cast<uint64_t>(block_x()) * 8 + warp();
  if (tile >= static_cast<uint64_t>(tiles_for(args.rows, kTileRows)) * column_tiles) return;
  const auto first_row = static_cast<uint32_t>(tile / column_tiles * kTileRows);
  const auto first_column = static_cast<uint32_t>(tile % column_tiles * kTileColumns);
  for (uint32_t group = 0; group < kTileGroups; ++group) {
    uint32_t words[4] = {};
    for (uint32_t i = 0; i < Fragment::kRowsOfLane; ++i) {
      const uint32_t row = first_row + Fragment::a_row(lane(), i);
      for (uint32_t k = 0; k < Fragment::kColumnsOfLane; ++k) {
        const uint32_t column = first_column + group * 16 + Fragment::first_k(lane()) + k;
        if (row >= args.rows || column >= args.cols) continue;
        const uint16_t bits = args.weights[static_cast<uint64_t>(row) * args.cols + column];
        const uint32_t half = args.is_bf16 != 0 ? float_to_half(bfloat_to_float(bits)) : bits;
        words[Fragment::a_register(i, k / 2)] |= half << 16 * (k % 2);
      }
    }
    *reinterpret_cast<Words4*>(args.tiles + tile * kHalfTileBytes + group * 512 +
                               lane() * 16) = {{words[0], words[1], words[2], words[3]}};
  }
}

/// A well mixed word for each index (the finalizer of MurmurHash3).
TETRAD_DEVICE uint32_t mixed(uint32_t x) {
  x ^= x >> 16;
  x *= 0x85EBCA6Bu;
  x ^= x >> 13;
  x *= 0xC2B2AE35u;
  return x ^ x >> 16;
}

TETRAD_KERNEL(random_embeddings, RandomEmbeddingsArgs, 256) {
  wait_for_launches_before();
  const uint64_t step = static_cast<uint64_t>(grid_x()) * 256;
  for (uint64_t i = static_cast<uint64_t>(block_x()) * 256 + thread_index(); i < args.count;
       i += step) {
    const uint32_t random = mixed(static_cast<uint32_t>(i) ^ mixed(args.seed));
    const float value = static_cast<float>(random >> 8) * 0x1p-22f - 2.0f;
    args.to[i] = static_cast<uint16_t>(__builtin_bit_cast(uint32_t, value) >> 16);
  }
}

TETRAD_KERNEL(random_tiles, RandomTilesArgs, 256) {
  wait_for_launches_before();
  const uint64_t num_warps = static_cast<uint64_t>(grid_x()) * 8;
  for (uint64_t tile = static_cast<uint64_t>(block_x()) * 8 + warp(); tile < args.num_tiles;
       tile += num_warps) {
    char* to = args.tiles + tile * kCodeTileBytes;
    const uint32_t seed = mixed(static_cast<uint32_t>(tile) ^ mixed(args.seed)) + lane() * 5;
    *reinterpret_cast<Words4*>(to + lane() * 16) = {
        {mixed(seed), mixed(seed + 1), mixed(seed + 2), mixed(seed + 3)}};
    const uint32_t random = mixed(seed + 4) & 0x03FF03FFu;
    reinterpret_cast<uint32_t*>(to + 512)[lane()] = args.scale_bits * 0x10001u + random;
  }
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
