#include "kernels/cpu/attention_tiles.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <utility>

#include "base/integer_math.h"
#include "kernels/cpu/shares.h"

namespace tetrad {
namespace {

/// So many tiles for each thread are enough to give all about the same work.
constexpr int64_t kTilesPerThread = 4;

const unsigned char* cache_bytes(const std::byte* data) {
  return reinterpret_cast<const unsigned char*>(data);
}

KvElement kv_element(DType dtype) {
  if (dtype == DType::f8_e4m3) return KvElement::e4m3;
  return dtype == DType::bf16 ? KvElement::bf16 : KvElement::f32;
}

bool has_e4m3_loops(const KvCacheLayer& cache) {
  return cache.dtype == DType::f8_e4m3 && cache.head_dim % kE4m3HeadDimGrain == 0 &&
         cache.head_dim <= kMaxE4m3HeadDim;
}

const E4m3Attention& best_e4m3_attention(const SimdKernels& simd) {
#if defined(__x86_64__)
  if (&simd == simd_avx512() && __builtin_cpu_supports("avx512bf16")) {
    return *e4m3_attention_avx512_bf16();
  }
#endif
  return simd.e4m3_attention;
}

/// Rows of a tile: as many as it may have, fewer where the batch would not give every thread enough
/// tiles. No result depends on it.
int64_t rows_of_a_tile(const Batch& batch, int64_t groups, int64_t most_rows, int num_threads) {
  const auto num_tiles = [&](int64_t rows) {
    int64_t count = 0;
    for (const SequenceSlice& sequence : batch.sequences)
      count += groups * ceil_div(sequence.query_len, rows);
    return count;
  };
  int64_t rows = most_rows;
  while (rows > 1 && num_threads > 1 && num_tiles(rows) < kTilesPerThread * num_threads)
    rows = (rows + 1) / 2;
  return rows;
}

/// One tile for each sequence, KV head and handful of rows, those with the most keys first.
std::vector<AttentionTile> make_tiles(Activations q, const Batch& batch, const KvCacheLayer& cache,
                                      Activations out, int64_t max_queries, int num_threads) {
  const int64_t heads_per_kv = q.cols / cache.head_dim / cache.num_kv_heads;
  const int64_t tile_heads = std::min(heads_per_kv, max_queries);
  const int64_t groups = cache.num_kv_heads * ceil_div(heads_per_kv, tile_heads);
  const int64_t tile_rows = rows_of_a_tile(batch, groups, max_queries / tile_heads, num_threads);
  const int64_t head_bytes =
      kKvBlockSize * cache.head_dim * static_cast<int64_t>(dtype_size(cache.dtype));
  std::vector<AttentionTile> tiles;
  for (const SequenceSlice& sequence : batch.sequences) {
    for (int64_t head = 0; head < heads_per_kv * cache.num_kv_heads;) {
      const int64_t kv_head = head / heads_per_kv;
      const int64_t num_heads = std::min(tile_heads, (kv_head + 1) * heads_per_kv - head);
      for (int64_t end = sequence.query_len; end > 0; end -= tile_rows) {
        const int64_t row = std::max(end - tile_rows, int64_t{0});
        const int64_t offset = (sequence.query_start + row) * q.cols + head * cache.head_dim;
        tiles.push_back(
            {.q = q.data + offset,
             .out = out.data + offset,
             .row_stride = q.cols,
             .num_rows = end - row,
             .num_heads = num_heads,
             .head_dim = cache.head_dim,
             .score_scale = cache.k_scale / std::sqrt(static_cast<float>(cache.head_dim)),
             .value_scale = cache.v_scale,
             .num_keys = sequence.context_len + row + 1,
             .block_table = sequence.block_table.data(),
             .k = cache_bytes(cache.k) + kv_head * head_bytes,
             .v = cache_bytes(cache.v) + kv_head * head_bytes,
             .block_bytes = cache.num_kv_heads * head_bytes,
             .kv_element = kv_element(cache.dtype)});
      }
      head += num_heads;
    }
  }
  return tiles;
}

int64_t most_keys(const AttentionTile& tile) {
  return tile.num_keys + tile.num_rows - 1;
}

int64_t num_queries(const AttentionTile& tile) {
  return tile.num_rows * tile.num_heads;
}

int64_t multiplications_of(const AttentionTile& tile) {
  return 2 * num_queries(tile) * most_keys(tile) * tile.head_dim;
}

/// Of one split of a tile.
int64_t multiplications_of_split(const AttentionTile& tile, int64_t split) {
  const int64_t keys = std::min(most_keys(tile) - split * kSplitKeys, kSplitKeys);
  return 2 * num_queries(tile) * keys * tile.head_dim;
}

/// A piece of work for one thread.
struct Piece {
  AttentionTile tile;
  int64_t multiplications = 0;
};

/// The big ones first, so that small ones fill the gaps at the end. Pieces of about the same size
/// stay in order: neighbours read the same keys, and find them in a cache that threads share.
void sort_by_size(std::vector<Piece>& pieces) {
  std::ranges::stable_sort(pieces, std::greater{}, [](const Piece& piece) {
    return std::bit_width(static_cast<uint64_t>(piece.multiplications));
  });
}

/// A tile whose splits go to several threads.
struct CutTile {
  AttentionTile tile;
  int64_t num_splits = 0;
  size_t partials = 0;  // where they begin
};

}  // namespace

TiledAttention::TiledAttention(ThreadPool& pool, const SimdKernels& simd)
    : TiledAttention(pool, simd, best_e4m3_attention(simd)) {}

void TiledAttention::run(Activations q, const Batch& batch, const KvCacheLayer& cache,
                         Activations out) {
  const int num_threads = pool_->num_threads();
  if (has_e4m3_loops(cache)) {
    attend_e4m3(make_tiles(q, batch, cache, out, kMaxE4m3Queries, num_threads));
  } else {
    attend_all(make_tiles(q, batch, cache, out, kMaxTileQueries, num_threads), simd_->attend);
  }
}

/// Who takes which piece depends on the time they take; what comes of a piece does not.
template <class Body>
void TiledAttention::deal(size_t count, int64_t multiplications, const Body& body) {
  if (multiplications < kWorthThreads || count == 1) {
    for (size_t i = 0; i < count; ++i)
      body(i);
    return;
  }
  std::atomic<size_t> next = 0;
  pool_->run([&](int) {
    for (size_t i = next++; i < count; i = next++)
      body(i);
  });
}

void TiledAttention::attend_all(const std::vector<AttentionTile>& tiles, Attend attend) {
  int64_t multiplications = 0;
  for (const AttentionTile& tile : tiles)
    multiplications += multiplications_of(tile);
  deal(tiles.size(), multiplications, [&](size_t i) { attend(tiles[i]); });
}

void TiledAttention::attend_e4m3(const std::vector<AttentionTile>& tiles) {
  int64_t multiplications = 0;
  for (const AttentionTile& tile : tiles)
    multiplications += multiplications_of(tile);

  // A tile that is much of what a thread has to do at all is cut where its splits meet.
  const int64_t large = multiplications / (kTilesPerThread * pool_->num_threads());
  std::vector<CutTile> cut;
  std::vector<Piece> pieces;
  size_t num_partials = 0;
  for (const AttentionTile& tile : tiles) {
    const int64_t num_splits = ceil_div(most_keys(tile), kSplitKeys);
    if (pool_->num_threads() == 1 || num_splits == 1 || multiplications_of(tile) <= large) {
      pieces.push_back({tile, multiplications_of(tile)});
    } else {
      cut.push_back({tile, num_splits, num_partials});
      num_partials += static_cast<size_t>(num_splits * num_queries(tile) * (tile.head_dim + 2));
    }
  }
  if (partials_.size() < num_partials) partials_.resize(num_partials);
  for (const CutTile& whole : cut) {
    for (int64_t split = 0; split < whole.num_splits; ++split) {
      const int64_t floats = num_queries(whole.tile) * (whole.tile.head_dim + 2);
      AttentionTile tile = whole.tile;
      tile.partial = partials_.data() + whole.partials + split * floats;
      tile.split = split;
      pieces.push_back({tile, multiplications_of_split(tile, split)});
    }
  }
  sort_by_size(pieces);
  deal(pieces.size(), multiplications, [&](size_t i) { e4m3_->attend(pieces[i].tile); });
  deal(cut.size(), static_cast<int64_t>(num_partials), [&](size_t i) {
    e4m3_->join(cut[i].tile, partials_.data() + cut[i].partials, cut[i].num_splits);
  });
}

}  // namespace tetrad
