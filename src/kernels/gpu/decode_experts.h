#pragma once

// The experts for a few tokens: as decode_product.h, over the experts that have tokens. Two
// launches: w1 and w3 with SwiGLU, then w2, whose last block for some columns adds up what the
// experts gave each token and adds that to the residual.

#include "kernels/gpu/choose_experts.h"
#include "kernels/gpu/decode_product.h"
#include "kernels/gpu/last_block.h"
#include "kernels/gpu/swiglu.h"

namespace tetrad::gpu {

/// hidden[pair] = silu(w1 x) * (w3 x) * kHiddenScale of the pair's expert and token.
struct ExpertsUpArgs {
  PackedMatrix w1;  // of expert 0: [intermediate_size, hidden_size]; expert e's tiles follow at
  PackedMatrix w3;  // e * expert_stride bytes
  uint64_t expert_stride = 0;
  int8_t codebook[16] = {};
  const uint16_t* x = nullptr;  // [T, x_stride] halves in activation_offset order
  uint32_t x_stride = 0;
  ExpertChoice choice;         // made here for up to kFewTokens tokens
  ExpertLists lists;           // written for these, read for more
  uint16_t* hidden = nullptr;  // [pairs, hidden_stride] halves in activation_offset order
  uint32_t hidden_stride = 0;
  uint32_t job_tiles = 1;     // tiles of rows a warp takes before its block meets
  uint32_t chunk_tokens = 1;  // tokens of an expert at a time: a fragment's at most
};

/// residual[t] (+)= sum over picks, in order, of weight * (w2 hidden[pair] / kHiddenScale), without
/// those whose weight is below 0 (ExpertChoice).
struct ExpertsDownArgs {
  PackedMatrix w2;  // of expert 0: [hidden_size, intermediate_size]
  uint64_t expert_stride = 0;
  int8_t codebook[16] = {};
  const uint16_t* hidden = nullptr;
  uint32_t hidden_stride = 0;
  uint32_t num_experts_per_tok = 0;
  uint32_t num_tokens = 0;
  ExpertLists lists;
  float* products = nullptr;            // [pairs, w2.rows]
  const float* weights = nullptr;       // [T, num_experts_per_tok]
  const int32_t* expert_ids = nullptr;  // likewise; read for one token alone
  uint32_t num_experts = 0;             // likewise
  float* residual = nullptr;            // [T, w2.rows]
  uint32_t add = 1;                     // 0: what stood in the residual is another rank's to bring
  uint32_t* finished = nullptr;         // [jobs of an expert], 0 before and after
  uint32_t job_tiles = 1;
  uint32_t chunk_tokens = 1;
};

namespace TETRAD_MACHINE {

/// Some row tiles of one expert. Jobs go through the active experts one after the other.
struct ExpertJob {
  ActiveExpert of;
  uint32_t part = 0;  // which row tiles

  TETRAD_DEVICE ExpertJob(const ExpertLists& lists, uint32_t job, uint32_t num_jobs,
                          uint32_t jobs_per_expert) {
    if (job >= num_jobs) return;
    const Words4 words = *reinterpret_cast<const Words4*>(lists.active + job / jobs_per_expert);
    of = {words.word[0], words.word[1], words.word[2], 0};
    part = job % jobs_per_expert;
  }
};

/// The tokens of a job, some at a time.
struct PairChunk {
  const uint32_t* pairs;
  uint32_t count;
  bool is_last;
  TETRAD_DEVICE PairChunk(const ExpertLists& lists, const ActiveExpert& of, uint32_t num_pairs,
                          uint32_t done, uint32_t most) {
    const uint32_t left = num_pairs - done;
    count = left < most ? left : most;
    pairs = lists.sorted_pairs + of.first_pair + done;
    is_last = count == left;
  }
};

/// Where a warp's segment of one of a job's tiles of rows begins; null where there is none.
template <class Tile>
TETRAD_DEVICE const char* segment_of(const char* tiles, uint64_t expert_stride,
                                     const ExpertJob& job, uint32_t job_tiles, uint32_t job_tile,
                                     const WarpShare& share, uint32_t row_tiles) {
  const uint32_t row_tile = (job.part * job_tiles + job_tile) * share.tiles_per_block + share.tile;
  if (!share.works || row_tile >= row_tiles) return nullptr;
  return segment_at<Tile>(tiles + job.of.expert * expert_stride, share.column_tiles, row_tile,
                          share.segment);
}

/// The products of one job's tiles of rows with a chunk of its tokens, into shared.partial. Starts
/// what comes `after`, if it is not null.
template <class Tile, bool kIsWhole>
TETRAD_DEVICE void multiply_job(SegmentReader<Tile, kIsWhole>& reader, const char* tiles,
                                uint64_t expert_stride, const ExpertJob& job, uint32_t job_tiles,
                                const WarpShare& share, uint32_t row_tiles, DecodeShared& shared,
                                uint32_t num_tokens, const char* after) {
  const uint32_t num_tiles = share.works ? share.num_tiles() : 0;
  const uint16_t* x = shared.of_lane(num_tokens, share.segment * kSegmentColumns);
  const char* mine = segment_of<Tile>(tiles, expert_stride, job, job_tiles, 0, share, row_tiles);
  for (uint32_t job_tile = 0; job_tile < job_tiles; ++job_tile) {
    const char* next = after;
    if (job_tile + 1 < job_tiles)
      next = segment_of<Tile>(tiles, expert_stride, job, job_tiles, job_tile + 1, share, row_tiles);
    float sums[1][Fragment::kD] = {};
    reader.multiply(mine, next, num_tiles, {x}, shared.table, sums);
    shared.store_partial(job_tile, sums[0]);
    mine = next;
  }
}

/// kIsOne: one token, and columns that are whole segments (decode_product.h says why).
template <class Tile, bool kIsOne>
TETRAD_DEVICE void experts_up(const ExpertsUpArgs& args) {
  DecodeShared shared(args.w1.cols, args.job_tiles);
  // The first half of the warps takes w1, the second the same rows of w3.
  const WarpShare share(args.w1.cols, kDecodeWarps / 2);
  // Not a choice between two members: it would put the arguments into memory.
  const int64_t from_w1_to_w3 = args.w3.tiles - args.w1.tiles;
  const char* tiles = args.w1.tiles + (warp() < kDecodeWarps / 2 ? 0 : from_w1_to_w3);
  const uint32_t row_tiles = tiles_for(args.w1.rows, kTileRows);
  const uint32_t rows = args.job_tiles * share.tiles_per_block * kTileRows;
  const uint32_t jobs_per_expert = tiles_for(args.w1.rows, rows);
  if constexpr (Tile::kBytes == kCodeTileBytes)
    fill_level_table(shared.table, args.codebook, kDecodeThreads);
  const uint32_t num_tokens = kIsOne ? 1 : args.choice.num_tokens;
  const bool is_few = kIsOne || num_tokens <= kFewTokens;
  const uint32_t chunk_tokens = kIsOne ? 1 : args.chunk_tokens;
  const float bias = is_few ? bias_of_thread(args.choice) : 0;
  wait_for_launches_before();
  const bool is_one = kIsOne || num_tokens == 1;
  if (is_one) shared.copy_row(0, args.x, args.w1.cols);
  ExpertLists lists = args.lists;
  if (is_few) {
    auto& memory = *reinterpret_cast<ChoiceMemory*>(shared.x + chunk_tokens * shared.stride);
    TokenLogits<kIsOne ? 1 : kFewTokens> logits;
    logits.load(args.choice, 0, num_tokens);
    lists = choose_few(args.choice, bias, logits, memory, args.lists, block_x() == 0);
  }
  // The next launch may look at what is chosen before it waits (expert_of_warp).
  if (block_x() == 0) {
    fence_device();
    sync_block();
  }
  let_next_launch_begin();
  const uint32_t num_jobs = *lists.num_active * jobs_per_expert;

  SegmentReader<Tile, kIsOne> reader;
  const auto first_of = [&](const ExpertJob& job, uint32_t index) TETRAD_INLINE -> const char* {
    if (index >= num_jobs) return nullptr;
    return segment_of<Tile>(tiles, args.expert_stride, job, args.job_tiles, 0, share, row_tiles);
  };
  ExpertJob job(lists, block_x(), num_jobs, jobs_per_expert);
  reader.start(first_of(job, block_x()), share.num_tiles());

  for (uint32_t index = block_x(); index < num_jobs; index += grid_x()) {
    const ExpertJob next(lists, index + grid_x(), num_jobs, jobs_per_expert);
    const uint32_t num_pairs = kIsOne ? 1 : job.of.num_pairs;
    for (uint32_t done = 0; done < num_pairs; done += chunk_tokens) {
      const PairChunk chunk(lists, job.of, num_pairs, done, chunk_tokens);
      for (uint32_t i = 0; i < chunk.count && !is_one; ++i)
        shared.copy_row(
            i,
            args.x + static_cast<uint64_t>(chunk.pairs[i] / args.choice.num_experts_per_tok) *
                         args.x_stride,
            args.w1.cols);
      shared.wait_for_rows();
      sync_block();
      multiply_job(reader, tiles, args.expert_stride, job, args.job_tiles, share, row_tiles, shared,
                   chunk.count,
                   chunk.is_last ? first_of(next, index + grid_x()) : first_of(job, index));
      sync_block();
      for (uint32_t i = thread_index(); i < rows * chunk.count; i += kDecodeThreads) {
        const RowOfJob of = share.row_of_job(i, kIsOne, rows);
        const uint32_t row = job.part * rows + of.row;
        if (row >= args.w1.rows) continue;
        const float gate = shared.total(of, share.num_segments) * args.w1.scale;
        const float up = shared.total(of, share.num_segments, kDecodeWarps / 2) * args.w3.scale;
        args.hidden[static_cast<uint64_t>(chunk.pairs[of.token]) * args.hidden_stride +
                    activation_offset<Fragment>(row)] = swiglu_to_half(gate, up);
      }
      sync_block();
    }
    job = next;
  }
}

/// residual (+)= the picks' products of the rows of one part, by the last block to finish with it.
/// Other blocks may be done by then, so that it counts how long one takes: the loads of some rows
/// are on their way at once.
TETRAD_DEVICE void add_picks(const ExpertsDownArgs& args, uint32_t first_row, uint32_t rows) {
  constexpr uint32_t kAtOnce = 2;  // of more, the registers of the whole kernel do not fit twice
  const uint32_t count = rows * args.num_tokens;
  TETRAD_NO_UNROLL
  for (uint32_t first = thread_index(); first < count; first += kAtOnce * kDecodeThreads) {
    PickedProducts picked[kAtOnce];
    float before[kAtOnce];
    float* to[kAtOnce];
    TETRAD_UNROLL
    for (uint32_t j = 0; j < kAtOnce; ++j) {
      const uint32_t i = first + j * kDecodeThreads;
      const uint32_t at = i < count ? i : first;
      const uint32_t token = at / rows;
      const uint32_t row = first_row + at % rows;
      const bool is_there = i < count && row < args.w2.rows;
      const uint32_t column = row < args.w2.rows ? row : first_row;
      const uint64_t pair = static_cast<uint64_t>(token) * args.num_experts_per_tok;
      picked[j].load(args.weights + pair, args.num_experts_per_tok,
                     [&](uint32_t pick) TETRAD_INLINE {
                       return load_fresh(args.products + (pair + pick) * args.w2.rows + column);
                     });
      float* residual = args.residual + static_cast<uint64_t>(token) * args.w2.rows + column;
      before[j] = args.add == 0 ? 0 : *residual;
      to[j] = is_there ? residual : nullptr;
    }
    TETRAD_UNROLL
    for (uint32_t j = 0; j < kAtOnce; ++j) {
      const float sum = picked[j].sum(args.num_experts_per_tok);
      if (to[j] != nullptr) *to[j] = args.add == 0 ? sum : before[j] + sum;
    }
  }
}

template <class Tile>
TETRAD_DEVICE void experts_down(const ExpertsDownArgs& args) {
  DecodeShared shared(args.w2.cols, args.job_tiles);
  const WarpShare share(args.w2.cols, kDecodeWarps);
  const uint32_t row_tiles = tiles_for(args.w2.rows, kTileRows);
  const uint32_t rows = args.job_tiles * share.tiles_per_block * kTileRows;
  const uint32_t jobs_per_expert = tiles_for(args.w2.rows, rows);
  uint32_t* is_last = reinterpret_cast<uint32_t*>(shared.scratch);
  if constexpr (Tile::kBytes == kCodeTileBytes)
    fill_level_table(shared.table, args.codebook, kDecodeThreads);
  wait_for_launches_before();
  let_next_launch_begin();
  const uint32_t num_active = *args.lists.num_active;
  const uint32_t num_jobs = num_active * jobs_per_expert;
  if (num_active == 0) {
    // All picks are other ranks', and this one's part of the sum is 0.
    for (uint32_t part = block_x(); args.add == 0 && part < jobs_per_expert; part += grid_x())
      add_picks(args, part * rows, rows);
    return;
  }

  SegmentReader<Tile> reader;
  const auto first_of = [&](const ExpertJob& job, uint32_t index) TETRAD_INLINE -> const char* {
    if (index >= num_jobs) return nullptr;
    return segment_of<Tile>(args.w2.tiles, args.expert_stride, job, args.job_tiles, 0, share,
                            row_tiles);
  };
  ExpertJob job(args.lists, block_x(), num_jobs, jobs_per_expert);
  reader.start(first_of(job, block_x()), share.num_tiles());

  for (uint32_t index = block_x(); index < num_jobs; index += grid_x()) {
    const ExpertJob next(args.lists, index + grid_x(), num_jobs, jobs_per_expert);
    for (uint32_t done = 0; done < job.of.num_pairs; done += args.chunk_tokens) {
      const PairChunk chunk(args.lists, job.of, job.of.num_pairs, done, args.chunk_tokens);
      for (uint32_t i = 0; i < chunk.count; ++i)
        shared.copy_row(i, args.hidden + static_cast<uint64_t>(chunk.pairs[i]) * args.hidden_stride,
                        args.w2.cols);
      shared.wait_for_rows();
      sync_block();
      multiply_job(reader, args.w2.tiles, args.expert_stride, job, args.job_tiles, share, row_tiles,
                   shared, chunk.count,
                   chunk.is_last ? first_of(next, index + grid_x()) : first_of(job, index));
      sync_block();
      for (uint32_t i = thread_index(); i < rows * chunk.count; i += kDecodeThreads) {
        const RowOfJob of = share.row_of_job(i, false, rows);
        const uint32_t row = job.part * rows + of.row;
        if (row >= args.w2.rows) continue;
        args.products[static_cast<uint64_t>(chunk.pairs[of.token]) * args.w2.rows + row] =
            shared.total(of, share.num_segments) * (args.w2.scale / kHiddenScale);
      }
      sync_block();
    }

    if (is_last_of(args.finished + job.part, num_active, is_last))
      add_picks(args, job.part * rows, rows);
    sync_block();
    job = next;
  }
}

/// Of one token the warp's pick, kElsewhere where it is none of here. Read before the launch waits
/// it is most likely what the launch before chose, which lets this one begin when it has; a guess
/// all the same.
TETRAD_DEVICE uint32_t expert_of_warp(const ExpertsDownArgs& args) {
  if (warp() >= args.num_experts_per_tok) return kElsewhere;
  const uint32_t expert = load_fresh(reinterpret_cast<const uint32_t*>(args.expert_ids) + warp());
  return expert < args.num_experts ? expert : kElsewhere;
}

/// One token: a block takes a tile of rows of all picked experts, a warp an expert with all its
/// segments, so that nothing has to be added up between blocks.
template <class Tile>
TETRAD_DEVICE void experts_down_one(const ExpertsDownArgs& args) {
  const uint32_t cols = args.w2.cols;
  const uint32_t column_tiles = tiles_for(cols, kTileColumns);
  const uint32_t num_segments = tiles_for(cols, kSegmentColumns);
  const uint32_t row_tile = block_x();
  DecodeShared shared(cols);
  if constexpr (Tile::kBytes == kCodeTileBytes)
    fill_level_table(shared.table, args.codebook, kDecodeThreads);
  const uint32_t row = row_tile * kTileRows + thread_index();
  const bool has_row = thread_index() < kTileRows && row < args.w2.rows;
  // The launch before does not write it.
  const float before = has_row && args.add != 0 ? args.residual[row] : 0;
  const auto tiles_of = [&](uint32_t segment)
                            TETRAD_INLINE { return tiles_of_segment(column_tiles, segment); };
  const auto tiles_of_expert = [&](uint32_t expert) TETRAD_INLINE -> const char* {
    if (expert == kElsewhere) return nullptr;
    return args.w2.tiles + expert * args.expert_stride +
           static_cast<uint64_t>(row_tile) * column_tiles * Tile::kBytes;
  };
  const uint32_t guess = expert_of_warp(args);
  SegmentReader<Tile> reader;
  reader.start(tiles_of_expert(guess), tiles_of(0));
  wait_for_launches_before();
  let_next_launch_begin();

  const uint32_t expert = expert_of_warp(args);
  for (uint32_t i = 0; i < args.num_experts_per_tok; ++i)
    shared.copy_row(i, args.hidden + static_cast<uint64_t>(i) * args.hidden_stride, cols);
  const char* tiles = tiles_of_expert(expert);
  if (expert != guess) reader.start(tiles, tiles_of(0));
  if (thread_index() < args.num_experts_per_tok)
    shared.scratch[thread_index()] = args.weights[thread_index()];
  shared.wait_for_rows();
  sync_block();
  // A pick of another rank's brings zeros.
  if (warp() < args.num_experts_per_tok) {
    float total[Fragment::kD] = {};
    const uint32_t segments_here = tiles == nullptr ? 0 : num_segments;
    for (uint32_t segment = 0; segment < segments_here; ++segment) {
      float sums[1][Fragment::kD] = {};
      const char* mine = tiles + segment * kSegmentTiles * Tile::kBytes;
      // The next one may be shorter: then it is started when its turn comes.
      const bool is_like_this =
          segment + 1 < num_segments && tiles_of(segment + 1) == tiles_of(segment);
      reader.multiply(
          mine, is_like_this ? mine + kSegmentTiles * Tile::kBytes : nullptr, tiles_of(segment),
          {shared.x + warp() * shared.stride + segment * kSegmentColumns}, shared.table, sums);
      if (segment + 1 < num_segments && !is_like_this)
        reader.start(mine + kSegmentTiles * Tile::kBytes, tiles_of(segment + 1));
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        total[i] = segment == 0 ? sums[0][i] : total[i] + sums[0][i];
    }
    shared.store_partial(0, total);
  }
  sync_block();
  if (!has_row) return;
  const float sum =
      sum_over_picks(shared.scratch, args.num_experts_per_tok, [&](uint32_t pick) TETRAD_INLINE {
        const RowOfJob of{.token = 0, .row = thread_index(), .job_tile = 0, .first_warp = pick};
        return shared.total(of, 1) * (args.w2.scale / kHiddenScale);
      });
  args.residual[row] = before + sum;
}

TETRAD_KERNEL(experts_down_one_codes, ExpertsDownArgs, 256) {
  experts_down_one<CodeTile<Fragment>>(args);
}
TETRAD_KERNEL(experts_down_one_halves, ExpertsDownArgs, 256) {
  experts_down_one<HalfTile<Fragment>>(args);
}
TETRAD_KERNEL(experts_up_codes, ExpertsUpArgs, 256) {
  experts_up<CodeTile<Fragment>, false>(args);
}
TETRAD_KERNEL(experts_up_halves, ExpertsUpArgs, 256) {
  experts_up<HalfTile<Fragment>, false>(args);
}
TETRAD_KERNEL(experts_up_one_codes, ExpertsUpArgs, 256) {
  experts_up<CodeTile<Fragment>, true>(args);
}
TETRAD_KERNEL(experts_up_one_halves, ExpertsUpArgs, 256) {
  experts_up<HalfTile<Fragment>, true>(args);
}
TETRAD_KERNEL(experts_down_codes, ExpertsDownArgs, 256) {
  experts_down<CodeTile<Fragment>>(args);
}
TETRAD_KERNEL(experts_down_halves, ExpertsDownArgs, 256) {
  experts_down<HalfTile<Fragment>>(args);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
