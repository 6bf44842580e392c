#pragma once

// What a sampler asks of a row of logits, so that few rows need to leave the device: whether all
// are numbers, the largest, the likeliest tokens, and what all exponentials add up to.

#include "kernels/gpu/last_block.h"
#include "kernels/likely_token.h"

namespace tetrad::gpu {

/// Logits that are looked at as one: the largest of each span is kept.
inline constexpr uint32_t kSummarySpan = 64;
/// Logits of a block.
inline constexpr uint32_t kSummaryTile = 2048;
/// The likeliest tokens are looked for in as many spans as have the largest maxima: not many more
/// than the first, where maxima differ, and never more than the second.
inline constexpr uint32_t kWantedSpans = kFewestLikelyTokens;
inline constexpr uint32_t kMaxSpans = 96;
/// Tokens that are listed.
inline constexpr uint32_t kMaxCandidates = 256;
/// The last block for a row keeps a number for each span in shared memory.
inline constexpr uint32_t kMaxSummaryVocabulary = 512 * 1024;
static_assert(kMaxSummaryVocabulary / kSummaryTile <= 256, "merge_parts: a thread a tile");
static_assert(kMaxSpans % 32 == 0 && kWantedSpans + kWantedSpans / 3 <= kMaxSpans);
/// How far `sum` is off at most, as a part of itself. An exponent is three times rounded to 2^-24
/// of itself: of one up to 32 that is 4e-6 of the weight, and weights with a larger one add up to
/// next to nothing. 2^x is 2^-22 off, twice. A weight sees 34 additions. All that is less than half
/// of this.
inline constexpr double kSummarySumError = 0x1p-16;

/// Of one row. Of logits that are not all finite, is_finite alone means anything.
struct LogitsSummary {
  uint32_t is_finite = 0;
  float largest = 0;
  uint32_t best = 0;  // the lowest id of those with the largest logit
  /// Of exp((logit - largest) / temperature) over all tokens; 0 without a temperature.
  float sum = 0;
  /// Tokens whose logit is `bound` or more. If they are kMaxCandidates or fewer they are listed,
  /// all of them, in the order of their ids.
  float bound = 0;
  uint32_t num_candidates = 0;
};

/// What a block found.
struct alignas(16) SummaryPart {
  uint32_t largest = 0;  // ascending()
  uint32_t best = 0;
  float sum = 0;  // beside the block's largest
  uint32_t is_finite = 0;
};

/// Grid: (summary_tiles(vocab_size), R).
struct SummarizeLogitsArgs {
  const float* logits = nullptr;  // [R, vocab_size]
  uint32_t vocab_size = 0;        // at most kMaxSummaryVocabulary
  /// [R]: log2(e) / temperature, finite; 0 where the best token is all that is wanted.
  const float* exponent_scales = nullptr;
  LogitsSummary* summaries = nullptr;  // [R]
  LikelyToken* candidates = nullptr;   // [R, kMaxCandidates]
  uint32_t* maxima = nullptr;          // [R, summary_tiles * spans of a tile], to work with
  SummaryPart* parts = nullptr;        // [R, summary_tiles], to work with
  uint32_t* finished = nullptr;        // [R], 0 before and after
};

constexpr uint32_t summary_tiles(uint32_t vocab_size) {
  return (vocab_size + kSummaryTile - 1) / kSummaryTile;
}
constexpr uint32_t summary_spans(uint32_t vocab_size) {
  return summary_tiles(vocab_size) * (kSummaryTile / kSummarySpan);
}

/// What the threads of a block tell each other.
struct SummaryMemory {
  // By turns, so that what is read is not overwritten. Aligned: the compiler reads four words at
  // once, and would take one of the turn before along with them.
  alignas(16) uint32_t of_warp[4][8];
  uint32_t flag;
  uint32_t spans[kMaxSpans];
  uint32_t counts[kMaxSpans];
};

constexpr uint32_t summary_shared_bytes(uint32_t vocab_size) {
  return uint32_t{sizeof(SummaryMemory)} + summary_spans(vocab_size) * 4;
}

namespace TETRAD_MACHINE {

inline constexpr uint32_t kSummaryWarps = 8;
/// Logits of a thread.
inline constexpr uint32_t kSummaryLoads = kSummaryTile / kSummaryWarps / 32;

/// In the order of the floats; -0 equals 0, and 0 is below all.
TETRAD_DEVICE uint32_t ascending(float logit) {
  return ordered_bits(logit + 0.0f);
}

/// The largest, and the sum, over the block's threads; every thread gets it. `of_warp` is free
/// again after the next sync_block().
TETRAD_DEVICE uint32_t block_max(uint32_t value, uint32_t (&of_warp)[8]) {
  value = warp_max(value);
  if (lane() == 0) of_warp[warp()] = value;
  sync_block();
  uint32_t largest = 0;
  TETRAD_UNROLL
  for (const uint32_t theirs : of_warp)
    largest = theirs > largest ? theirs : largest;
  return largest;
}
TETRAD_DEVICE float block_sum(float value, uint32_t (&of_warp)[8]) {
  value = warp_sum(value);
  if (lane() == 0) of_warp[warp()] = __builtin_bit_cast(uint32_t, value);
  sync_block();
  float sum = 0;
  TETRAD_UNROLL
  for (const uint32_t theirs : of_warp)
    sum += __builtin_bit_cast(float, theirs);
  return sum;
}

/// Reads a tile of a row, leaves the spans' maxima, and returns what is said of it.
TETRAD_DEVICE SummaryPart summarize_tile(const float* logits, uint32_t vocab_size, float scale,
                                         uint32_t* maxima, SummaryMemory* memory) {
  const uint32_t first = block_x() * kSummaryTile + warp() * (32 * kSummaryLoads);
  float value[kSummaryLoads];
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kSummaryLoads; ++i) {
    const uint32_t id = first + i * 32 + lane();
    value[i] = id < vocab_size ? logits[id] : 0.0f;
  }
  uint32_t order[kSummaryLoads];
  bool is_bad = false;
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kSummaryLoads; ++i) {
    order[i] = first + i * 32 + lane() < vocab_size ? ascending(value[i]) : 0;
    is_bad |= (__builtin_bit_cast(uint32_t, value[i]) & 0x7F800000u) == 0x7F800000u;
  }
  uint32_t largest = 0;
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kSummaryLoads; i += 2) {
    const uint32_t of_span = warp_max(order[i] > order[i + 1] ? order[i] : order[i + 1]);
    if (lane() == 0) maxima[(first + i * 32) / kSummarySpan] = of_span;
    largest = of_span > largest ? of_span : largest;
  }
  largest = block_max(largest, memory->of_warp[0]);

  uint32_t not_best = 0;
  float sum = 0;
  const float shift = of_ordered_bits(largest);
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kSummaryLoads; ++i) {
    const uint32_t id = first + i * 32 + lane();
    if (order[i] == largest && ~id > not_best) not_best = ~id;
    if (scale != 0 && order[i] != 0) sum += power_of_two((value[i] - shift) * scale);
  }
  return {.largest = largest,
          .best = ~block_max(not_best, memory->of_warp[1]),
          .sum = block_sum(sum, memory->of_warp[2]),
          .is_finite = ~block_max(is_bad ? 1u : 0u, memory->of_warp[3]) & 1u};
}

/// The same of all tiles of a row.
TETRAD_DEVICE SummaryPart merge_parts(const SummaryPart* parts, float scale,
                                      SummaryMemory* memory) {
  uint32_t words[4] = {0, 0, 0, 1};
  if (thread_index() < grid_x()) load_fresh_16(words, parts + thread_index());
  const uint32_t largest = block_max(words[0], memory->of_warp[0]);
  // Tiles stand in the order of their ids.
  const uint32_t best = ~block_max(words[0] == largest ? ~words[1] : 0, memory->of_warp[1]);
  const float by = (of_ordered_bits(words[0]) - of_ordered_bits(largest)) * scale;
  const bool has_sum = thread_index() < grid_x() && scale != 0;
  const float sum = block_sum(
      has_sum ? __builtin_bit_cast(float, words[2]) * power_of_two(by) : 0.0f, memory->of_warp[2]);
  const uint32_t is_finite = ~block_max(words[3] ^ 1u, memory->of_warp[3]) & 1u;
  sync_block();
  return {.largest = largest, .best = best, .sum = sum, .is_finite = is_finite};
}

/// The spans' maxima into shared memory: `count`, a multiple of 4.
TETRAD_DEVICE void load_maxima(const uint32_t* maxima, uint32_t count, uint32_t* to) {
  constexpr uint32_t kLoads = 4;
  for (uint32_t first = thread_index() * 4; first < count; first += 4 * 256 * kLoads) {
    uint32_t words[kLoads][4] = {};
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kLoads; ++i) {
      if (first + i * 1024 < count) load_fresh_16(words[i], maxima + first + i * 1024);
    }
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kLoads; ++i) {
      TETRAD_UNROLL
      for (uint32_t j = 0; j < 4; ++j) {
        if (first + i * 1024 < count) to[first + i * 1024 + j] = words[i][j];
      }
    }
  }
}

/// A logit that kWantedSpans of the maxima have or exceed, or half of them where there are few, and
/// not many more. `largest`: of all.
TETRAD_DEVICE float bound_of_spans(const uint32_t* maxima, uint32_t count, uint32_t largest,
                                   SummaryMemory* memory) {
  uint32_t not_smallest = 0;
  float mine = 0;
  for (uint32_t i = thread_index(); i < count; i += 256) {
    if (maxima[i] != 0 && ~maxima[i] > not_smallest) not_smallest = ~maxima[i];
    mine += maxima[i] != 0 ? 1.0f : 0.0f;
  }
  const auto num_spans = static_cast<uint32_t>(block_sum(mine, memory->of_warp[0]));
  const uint32_t wanted = num_spans / 2 < kWantedSpans ? (num_spans + 1) / 2 : kWantedSpans;
  const uint32_t enough = wanted + wanted / 3;
  float low = of_ordered_bits(~block_max(not_smallest, memory->of_warp[1]));
  float high = of_ordered_bits(largest);
  uint32_t at_low = num_spans;
  constexpr uint32_t kMostSteps = 32;
  for (uint32_t step = 0; step < kMostSteps && at_low > enough; ++step) {
    const float middle = 0.5f * low + 0.5f * high;
    if (!(middle > low && middle < high)) break;
    const uint32_t bound = ascending(middle);
    mine = 0;
    for (uint32_t i = thread_index(); i < count; i += 256)
      mine += maxima[i] >= bound ? 1.0f : 0.0f;
    const auto above = static_cast<uint32_t>(block_sum(mine, memory->of_warp[2 + step % 2]));
    if (above >= wanted) {
      low = middle;
      at_low = above;
    } else {
      high = middle;
    }
  }
  // Where the search ended between the largest and what is all but it.
  return at_low > kMaxSpans ? high : low;
}

/// Lists the spans whose maximum is `bound` or more, in order; returns how many they are. Beyond
/// kMaxSpans they are not listed.
TETRAD_DEVICE uint32_t list_spans(const uint32_t* maxima, uint32_t count, uint32_t bound,
                                  SummaryMemory* memory) {
  // A warp's share is a multiple of 32 spans, and those of the last may be fewer.
  const uint32_t share = (count / 32 + kSummaryWarps - 1) / kSummaryWarps * 32;
  const uint32_t begin = warp() * share;
  const uint32_t end = begin + share < count ? begin + share : count;
  uint32_t mine = 0;
  for (uint32_t i = begin; i < end; i += 32)
    mine += count_bits(ballot(maxima[i + lane()] >= bound));
  if (lane() == 0) memory->of_warp[0][warp()] = mine;
  sync_block();
  uint32_t before = 0;
  uint32_t all = 0;
  TETRAD_UNROLL
  for (uint32_t w = 0; w < kSummaryWarps; ++w) {
    if (w < warp()) before += memory->of_warp[0][w];
    all += memory->of_warp[0][w];
  }
  if (all > kMaxSpans) return all;
  for (uint32_t i = begin; i < end; i += 32) {
    const bool is_listed = maxima[i + lane()] >= bound;
    const uint32_t listed = ballot(is_listed);
    if (is_listed) memory->spans[before + count_bits_before(listed)] = i + lane();
    before += count_bits(listed);
  }
  sync_block();
  return all;
}

/// How many come before those of span thread_index() in counts[0 … kMaxSpans - 1], and of all.
TETRAD_DEVICE uint32_t counts_before(SummaryMemory* memory, uint32_t* all) {
  constexpr uint32_t kCountWarps = kMaxSpans / 32;
  const uint32_t mine = thread_index() < kMaxSpans ? memory->counts[thread_index()] : 0;
  uint32_t sum = mine;
  TETRAD_UNROLL
  for (uint32_t step = 1; step < 32; step *= 2) {
    const uint32_t other = shuffle(sum, (lane() - step) % kWarpSize);
    if (lane() >= step) sum += other;
  }
  if (lane() == 31) memory->of_warp[1][warp()] = sum;
  sync_block();
  uint32_t before = sum - mine;
  *all = 0;
  TETRAD_UNROLL
  for (uint32_t w = 0; w < kCountWarps; ++w) {
    if (w < warp()) before += memory->of_warp[1][w];
    *all += memory->of_warp[1][w];
  }
  return before;
}

/// The first token of this lane in the warp's span of a round, and 32 tokens on its second; beyond
/// the vocabulary where there is no span.
TETRAD_DEVICE uint32_t token_of_round(uint32_t round, uint32_t num_spans, uint32_t vocab_size,
                                      const SummaryMemory* memory) {
  const uint32_t at = round * kSummaryWarps + warp();
  return at < num_spans ? memory->spans[at] * kSummarySpan + lane() : vocab_size;
}

/// Lists the tokens of `num_spans` listed spans whose logit is `bound` or more; returns how many
/// they are. Beyond kMaxCandidates they are not listed.
TETRAD_DEVICE uint32_t list_candidates(const float* logits, uint32_t vocab_size, float bound,
                                       uint32_t num_spans, LikelyToken* to, SummaryMemory* memory) {
  constexpr uint32_t kRounds = kMaxSpans / kSummaryWarps;
  float value[kRounds][2];  // a NaN is no candidate
  TETRAD_UNROLL
  for (uint32_t r = 0; r < kRounds; ++r) {
    const uint32_t first = token_of_round(r, num_spans, vocab_size, memory);
    TETRAD_UNROLL
    for (uint32_t half = 0; half < 2; ++half) {
      const uint32_t token = first + 32 * half;
      value[r][half] = token < vocab_size ? logits[token] : __builtin_nanf("");
    }
  }
  TETRAD_UNROLL
  for (uint32_t r = 0; r < kRounds; ++r) {
    const uint32_t count =
        count_bits(ballot(value[r][0] >= bound)) + count_bits(ballot(value[r][1] >= bound));
    if (lane() == 0) memory->counts[r * kSummaryWarps + warp()] = count;
  }
  sync_block();
  uint32_t all = 0;
  const uint32_t before = counts_before(memory, &all);
  if (all > kMaxCandidates) return all;
  sync_block();
  if (thread_index() < kMaxSpans) memory->counts[thread_index()] = before;
  sync_block();
  TETRAD_UNROLL
  for (uint32_t r = 0; r < kRounds; ++r) {
    const uint32_t first = token_of_round(r, num_spans, vocab_size, memory);
    uint32_t place = memory->counts[r * kSummaryWarps + warp()];
    TETRAD_UNROLL
    for (uint32_t half = 0; half < 2; ++half) {
      const bool is_candidate = value[r][half] >= bound;
      const uint32_t candidates = ballot(is_candidate);
      if (is_candidate)
        to[place + count_bits_before(candidates)] = {value[r][half], first + 32 * half};
      place += count_bits(candidates);
    }
  }
  return all;
}

TETRAD_KERNEL(summarize_logits, SummarizeLogitsArgs, 256) {
  wait_for_launches_before();
  let_next_launch_begin();
  auto* memory = reinterpret_cast<SummaryMemory*>(shared_memory());
  const uint64_t row = block_y();
  const uint32_t num_spans = grid_x() * (kSummaryTile / kSummarySpan);
  const float* logits = args.logits + row * args.vocab_size;
  const float scale = args.exponent_scales[row];
  uint32_t* maxima = args.maxima + row * num_spans;
  SummaryPart* parts = args.parts + row * grid_x();
  const SummaryPart part = summarize_tile(logits, args.vocab_size, scale, maxima, memory);
  if (thread_index() == 0) parts[block_x()] = part;
  if (!is_last_of(args.finished + row, grid_x(), &memory->flag)) return;

  auto* kept = reinterpret_cast<uint32_t*>(memory + 1);
  if (scale != 0) load_maxima(maxima, num_spans, kept);
  const SummaryPart all = merge_parts(parts, scale, memory);
  LogitsSummary summary{.is_finite = all.is_finite,
                        .largest = of_ordered_bits(all.largest),
                        .best = all.best,
                        .sum = all.sum,
                        .bound = of_ordered_bits(all.largest),
                        .num_candidates = kMaxCandidates + 1};
  if (scale != 0 && all.is_finite != 0) {
    summary.bound = bound_of_spans(kept, num_spans, all.largest, memory);
    const uint32_t listed = list_spans(kept, num_spans, ascending(summary.bound), memory);
    if (listed <= kMaxSpans) {
      summary.num_candidates = list_candidates(logits, args.vocab_size, summary.bound, listed,
                                               args.candidates + row * kMaxCandidates, memory);
    }
  }
  if (thread_index() == 0) args.summaries[row] = summary;
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
