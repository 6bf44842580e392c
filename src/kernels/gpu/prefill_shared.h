#pragma once

// What a block of prefill_attention.h keeps in shared memory, and how a sequence's keys and values
// come there.

#include "kernels/gpu/attention_tile.h"

namespace tetrad::gpu {

template <class F>
struct PrefillShape {
  static constexpr bool kIsSmall = F::kTokens == 16;  // a block of gfx12 has 64 KiB
  static constexpr uint32_t kWarps = kIsSmall ? 4 : 8;
  /// Tiles of columns a warp takes: registers allow no more.
  static constexpr uint32_t kTiles = kIsSmall ? 1 : 3;
  static constexpr uint32_t kColumns = kWarps * kTiles * F::kTokens;
  /// Into how many parts a block of 16 keys is cut, that each warp converts one.
  static constexpr uint32_t kParts = kWarps / kSplitBlocks;
  /// Buffers of keys, and of values. With two, half of the warps are half a split behind.
  static constexpr uint32_t kBuffers = kIsSmall ? 1 : 2;
  /// Queries, and the totals' maxima and denominators, in shared memory and not in registers.
  static constexpr bool kSharedQueries = !kIsSmall;
};

/// Splits' keys and values as halves, of each tile the total, and the queries.
template <class F>
constexpr uint32_t attend_prefill_shared_bytes(uint32_t head_dim) {
  using Shape = PrefillShape<F>;
  return Shape::kBuffers * 2 * kSplitKeys * head_dim * 2 +
         Shape::kColumns * (Shape::kSharedQueries
                                ? head_dim * 6 + 8 * 32 * F::kTokensOfLane / F::kTokens
                                : head_dim * 4);
}

static_assert(attend_prefill_shared_bytes<Gfx12Fragment>(128) <= 65536);
static_assert(attend_prefill_shared_bytes<NvidiaFragment>(128) <= 227 * 1024);

namespace TETRAD_MACHINE {

using Prefill = PrefillShape<Fragment>;

/// A warp's share in bringing a sequence's keys and values of one KV head to shared memory.
template <uint32_t kHeadDim>
struct SplitCopier {
  using A = Attention<kHeadDim>;
  static constexpr uint32_t kFragments = kHeadDim / 16;  // of a block of 16 keys or values
  static constexpr uint32_t kFragmentsOfPart = kFragments / Prefill::kParts;
  static constexpr uint32_t kBufferPieces = kSplitBlocks * kFragments * 32;
  const AttentionArgs& args;
  uint32_t sequence;
  uint32_t num_blocks;
  Words4* buffers;    // of keys, then of values: each [kSplitBlocks][kFragments][32 lanes]
  uint32_t physical;  // of the warp's block in the split that is loaded
  uint32_t next;      // of the one after it
  typename A::template Block<Prefill::kParts> block;

  TETRAD_DEVICE static uint32_t block_of_split() { return warp() / Prefill::kParts; }
  TETRAD_DEVICE static uint32_t part() { return warp() % Prefill::kParts; }
  /// The first of the lane's pieces, from a buffer on.
  TETRAD_DEVICE static uint32_t first_piece() {
    return (block_of_split() * kFragments + part() * kFragmentsOfPart) * 32 + computed_here(lane());
  }
  TETRAD_DEVICE uint32_t place(uint32_t split) const {
    const uint32_t index = split * kSplitBlocks + block_of_split();
    if (index >= num_blocks) return 0;
    return static_cast<uint32_t>(
        args.block_table[static_cast<uint64_t>(computed_here(sequence)) * args.table_stride +
                         index]);
  }
  TETRAD_DEVICE bool is_there(uint32_t split) const {
    return split * kSplitBlocks + block_of_split() < num_blocks;
  }

  TETRAD_DEVICE Words4* keys(uint32_t split) const {
    return buffers + split % Prefill::kBuffers * kBufferPieces;
  }
  TETRAD_DEVICE Words4* values(uint32_t split) const {
    return keys(split) + Prefill::kBuffers * kBufferPieces;
  }

  TETRAD_DEVICE void begin() {
    block.clear();
    physical = place(0);
    next = place(1);
    load_keys(0);
  }
  /// Keys of a split, after the values of the one before.
  TETRAD_DEVICE void load_next_keys(uint32_t split) {
    physical = next;
    next = place(split + 1);
    load_keys(split);
  }
  TETRAD_DEVICE void load_keys(uint32_t split) {
    if (is_there(split))
      block.load_keys(args.k_cache + A::cache_at(args, block_x(), physical), part());
  }
  TETRAD_DEVICE void load_values(uint32_t split) {
    if (is_there(split))
      block.load_values(args.v_cache + A::cache_at(args, block_x(), physical), part());
  }
  /// What was loaded, to shared memory. Keys that are not there are any numbers: no query sees
  /// them.
  TETRAD_DEVICE void store_keys(uint32_t split) const {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kFragmentsOfPart; ++i) {
      Words4 words;
      block.keys_as_a(i, words.word);
      keys(split)[first_piece() + i * 32] = words;
    }
  }
  /// Of `written` keys in all.
  TETRAD_DEVICE void store_values(uint32_t split, uint32_t written) {
    const uint32_t first_key = split * kSplitKeys + block_of_split() * kKvBlock;
    if (first_key + kKvBlock > written)
      block.clear_values(written > first_key ? written - first_key : 0, computed_here(lane()));
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kFragmentsOfPart; ++i) {
      Words4 words;
      block.values_as_a(i, words.word);
      values(split)[first_piece() + i * 32] = words;
    }
  }
  TETRAD_DEVICE static void load_a(const Words4* from, uint32_t of_split, uint32_t fragment,
                                   uint32_t (&a)[Fragment::kA]) {
    static_assert(Fragment::kA == 4);
    const Words4 words = from[(of_split * kFragments + fragment) * 32 + lane()];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < 4; ++i)
      a[i] = words.word[i];
  }
};

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
