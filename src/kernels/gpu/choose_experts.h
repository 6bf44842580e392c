#pragma once

// From tokens' router logits to their experts and weights, and the lists of which pairs of a token
// and a pick an expert has. By a whole block for up to kFewTokens tokens, of which each has a warp.

#include "gpu/fragment.h"

namespace tetrad::gpu {

/// So many tokens' experts are chosen by every block that needs them, which costs less than
/// waiting for one that does it for all.
inline constexpr uint32_t kFewTokens = 8;
inline constexpr uint32_t kMaxPicks = 8;
inline constexpr uint32_t kMaxFewPairs = kFewTokens * kMaxPicks;
inline constexpr uint32_t kChoiceThreads = 256;
/// A thread each.
inline constexpr uint32_t kMaxExperts = kChoiceThreads;

/// An expert that has pairs: num_pairs of sorted_pairs, from first_pair on.
struct alignas(16) ActiveExpert {
  uint32_t expert = 0;
  uint32_t first_pair = 0;
  uint32_t num_pairs = 0;
  uint32_t unused = 0;
};

/// Who visits which expert. A pair is token * num_experts_per_tok + pick.
struct ExpertLists {
  uint32_t* expert_offsets = nullptr;  // [E + 1]: where an expert's pairs begin; of more than
                                       // kFewTokens
  uint32_t* sorted_pairs = nullptr;    // [T * num_experts_per_tok], by expert, then ascending
  ActiveExpert* active = nullptr;      // [E]: those with pairs, ascending
  uint32_t* num_active = nullptr;      // [1]
};

/// score = sigmoid(logit); the largest score + bias are picked, of equals the first; weights are
/// scores over the sum of those picked (minimax-m2 spec, section 3).
struct ExpertChoice {
  float* logits = nullptr;      // [T, E]; the router writes them
  const float* bias = nullptr;  // [E]
  uint32_t num_experts = 0;
  uint32_t num_experts_per_tok = 0;  // at most kMaxPicks
  uint32_t num_tokens = 0;
  int32_t* expert_ids = nullptr;  // [T, num_experts_per_tok], the best first
  float* weights = nullptr;       // likewise
  // Of many ranks each may have but some experts, whole: expert_ids count from the first of these,
  // and lists have pairs of these alone. A pair of another has kElsewhere and a weight below 0.
  uint32_t first_expert = 0;
  uint32_t end_expert = ~0u;
};
/// Above any expert's number; fits the keys of ChoiceMemory.
inline constexpr uint32_t kElsewhere = 0xFFFFFF;

/// What choosing needs in shared memory.
struct ChoiceMemory {
  ActiveExpert active[kMaxFewPairs];
  uint32_t pairs[kMaxFewPairs];
  uint32_t keys[kMaxFewPairs];    // of the pairs: expert << 8 | pair
  uint32_t sorted[kMaxFewPairs];  // these, ascending
  float scores[kFewTokens][kMaxExperts];
  float bias[kMaxExperts];
  uint32_t num_active[4];
};

namespace TETRAD_MACHINE {

TETRAD_DEVICE uint32_t smaller_of(uint32_t a, uint32_t b) {
  return a < b ? a : b;
}

/// Its number among those that are here.
TETRAD_DEVICE uint32_t expert_here(const ExpertChoice& args, uint32_t expert) {
  const bool is_here = expert >= args.first_expert && expert < args.end_expert;
  return is_here ? expert - args.first_expert : kElsewhere;
}

/// One element of what a token's picks gave it. All are loaded before any is waited for.
struct PickedProducts {
  float weight[kMaxPicks];
  float product[kMaxPicks];

  template <class ProductOf>
  TETRAD_DEVICE void load(const float* weights, uint32_t num_picks, const ProductOf& product_of) {
    TETRAD_UNROLL
    for (uint32_t pick = 0; pick < kMaxPicks; ++pick) {
      const uint32_t at = pick < num_picks ? pick : 0;
      weight[pick] = weights[at];
      product[pick] = product_of(at);
    }
  }
  /// In the order of the picks, of weight * product, without those elsewhere.
  TETRAD_DEVICE float sum(uint32_t num_picks) const {
    float sum = 0;
    TETRAD_UNROLL
    for (uint32_t pick = 0; pick < kMaxPicks; ++pick) {
      const bool counts = pick < num_picks && !(weight[pick] < 0);
      sum = counts ? fused_multiply_add(weight[pick], product[pick], sum) : sum;
    }
    return sum;
  }
};

template <class ProductOf>
TETRAD_DEVICE float sum_over_picks(const float* weights, uint32_t num_picks,
                                   const ProductOf& product_of) {
  PickedProducts picked;
  picked.load(weights, num_picks, product_of);
  return picked.sum(num_picks);
}

/// What the thread must know before the logits are there: its expert's bias.
TETRAD_DEVICE float bias_of_thread(const ExpertChoice& args) {
  return thread_index() < args.num_experts ? args.bias[thread_index()] : 0;
}

TETRAD_DEVICE float expert_score(float logit) {
  return divide(1.0f, 1.0f + power_of_two(logit * -1.44269504f));
}
/// What an expert is chosen by: the larger key, of equals the first expert's. 0 is nobody's.
TETRAD_DEVICE uint32_t choice_key(float score, float bias) {
  return ordered_bits(score + bias);
}

/// Experts that a lane of a warp has of all: kExpertsOfLane from lane() * kExpertsOfLane on.
inline constexpr uint32_t kExpertsOfLane = kMaxExperts / 32;

/// The largest first, of equals the first one; `places`: a hexadecimal digit for each, the lowest
/// the first key's, of where it stood.
TETRAD_DEVICE void sort_keys(uint32_t (&keys)[kExpertsOfLane], uint32_t& places) {
  static_assert(kExpertsOfLane == 8);
  uint32_t at[kExpertsOfLane];
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kExpertsOfLane; ++i)
    at[i] = i;
  const auto sort_neighbours = [&](uint32_t first) TETRAD_INLINE {
    TETRAD_UNROLL
    for (uint32_t i = 0; i + 1 < kExpertsOfLane; ++i) {
      if (i % 2 != first) continue;
      const uint32_t key[2] = {keys[i], keys[i + 1]};
      const uint32_t place[2] = {at[i], at[i + 1]};
      const bool swaps = key[0] < key[1];
      keys[i] = swaps ? key[1] : key[0];
      keys[i + 1] = swaps ? key[0] : key[1];
      at[i] = swaps ? place[1] : place[0];
      at[i + 1] = swaps ? place[0] : place[1];
    }
  };
  // Neighbours alone change places, so that equals never do. As a loop, since code comes from
  // memory, too (decode_product.h).
  TETRAD_NO_UNROLL
  for (uint32_t pass = 0; pass < kExpertsOfLane / 2; ++pass) {
    sort_neighbours(0);
    sort_neighbours(1);
  }
  places = 0;
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kExpertsOfLane; ++i)
    places |= at[i] << 4 * i;
}

/// By a warp: the expert with the (lane() + 1)th largest key, in the lanes below `count`. `keys`:
/// of the lane's experts, used up. Each lane's are sorted first: what then follows one pick after
/// the other is short. `picked`: shared memory for `count` words.
TETRAD_DEVICE uint32_t pick_largest(uint32_t (&keys)[kExpertsOfLane], uint32_t count,
                                    uint32_t* picked) {
  uint32_t places;
  sort_keys(keys, places);
  TETRAD_NO_UNROLL
  for (uint32_t place = 0; place < count; ++place) {
    const uint32_t best = warp_max(keys[0]);
    // Of equals the first: of the lowest lane's the lowest.
    const uint32_t owners = ballot(keys[0] == best);
    const bool is_owner = (owners & (0 - owners)) == 1u << lane();
    store_shared_if(is_owner, picked + place, lane() * kExpertsOfLane + places % 16);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kExpertsOfLane; ++i) {
      // Numbers, not places: an array with a place that is not known is no registers.
      const uint32_t mine = keys[i];
      const uint32_t next = i + 1 < kExpertsOfLane ? keys[i + 1] : 0;
      keys[i] = is_owner ? next : mine;
    }
    places = is_owner ? places >> 4 : places;
  }
  sync_warp();
  return lane() < count ? picked[lane()] : 0;
}

/// What a lane below the number of picks has of a token.
struct PickScore {
  float score;
  float sum;  // of all picks' scores, in their order
};
/// By a warp, of the lane's `expert`. `scores`: of all experts.
TETRAD_DEVICE PickScore score_of_pick(uint32_t expert, const float* scores, uint32_t num_picks) {
  const float score = lane() < num_picks ? scores[expert] : 0;
  float sum = 0;
  TETRAD_NO_UNROLL
  for (uint32_t place = 0; place < num_picks; ++place)
    sum += shuffle(score, place);
  return {score, sum};
}

/// A thread's expert's logits of up to kMaxTokens tokens, 0 for those that are not there.
template <uint32_t kMaxTokens>
struct TokenLogits {
  float logit[kMaxTokens] = {};

  TETRAD_DEVICE void load(const ExpertChoice& args, uint32_t first_token, uint32_t num_tokens) {
    const uint32_t expert = thread_index();
    TETRAD_UNROLL
    for (uint32_t t = 0; t < kMaxTokens; ++t) {
      if (t < num_tokens && expert < args.num_experts)
        logit[t] = load_fresh(args.logits +
                              static_cast<uint64_t>(first_token + t) * args.num_experts + expert);
    }
  }
};

/// The experts of tokens first_token … + num_tokens, at most kMaxTokens, into memory.keys and with
/// `writes` to expert_ids and weights: a warp a token. By all threads of a block, at least
/// kChoiceThreads; a sync_block() must follow before `memory` is read.
template <uint32_t kMaxTokens>
TETRAD_DEVICE void choose_experts(const ExpertChoice& args, float bias,
                                  const TokenLogits<kMaxTokens>& logits, uint32_t first_token,
                                  uint32_t num_tokens, ChoiceMemory& memory, bool writes) {
  static_assert(kMaxTokens <= kChoiceThreads / 32);
  const uint32_t expert = thread_index();
  const uint32_t top_k = args.num_experts_per_tok;
  if (expert < kMaxExperts) {
    memory.bias[expert] = bias;
    TETRAD_UNROLL
    for (uint32_t t = 0; t < kMaxTokens; ++t) {
      if (t < num_tokens) memory.scores[t][expert] = expert_score(logits.logit[t]);
    }
  }
  sync_block();
  const uint32_t token = warp();
  if (token >= num_tokens) return;
  uint32_t keys[kExpertsOfLane];
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kExpertsOfLane; ++i) {
    const uint32_t at = lane() * kExpertsOfLane + i;
    keys[i] = at < args.num_experts ? choice_key(memory.scores[token][at], memory.bias[at]) : 0;
  }
  const uint32_t picked = pick_largest(keys, top_k, memory.keys + token * top_k);
  const PickScore mine = score_of_pick(picked, memory.scores[token], top_k);
  if (lane() >= top_k) return;
  const uint32_t here = expert_here(args, picked);
  const uint32_t pair = token * top_k + lane();
  memory.keys[pair] = here << 8 | pair;
  if (!writes) return;
  const uint64_t at = static_cast<uint64_t>(first_token) * top_k + pair;
  args.expert_ids[at] = static_cast<int32_t>(here);
  args.weights[at] = here == kElsewhere ? -1.0f : divide(mine.score, mine.sum);
}

/// Chooses the experts of all of up to kMaxTokens tokens and lists them in `memory`; with `writes`
/// also in global memory, the lists where `to` says.
template <uint32_t kMaxTokens>
TETRAD_DEVICE ExpertLists choose_few(const ExpertChoice& args, float bias,
                                     const TokenLogits<kMaxTokens>& logits, ChoiceMemory& memory,
                                     const ExpertLists& to, bool writes) {
  const uint32_t num_tokens = kMaxTokens == 1 ? 1 : args.num_tokens;
  choose_experts(args, bias, logits, 0, num_tokens, memory, writes);
  sync_block();
  const uint32_t num_pairs = num_tokens * args.num_experts_per_tok;
  const uint32_t at = thread_index();
  const ExpertLists lists{
      .sorted_pairs = memory.pairs, .active = memory.active, .num_active = memory.num_active};
  if (num_tokens == 1) {  // in any order
    if (warp() == 0) {
      const uint32_t expert = at < num_pairs ? memory.keys[at] >> 8 : kElsewhere;
      const uint32_t all_here = ballot(expert != kElsewhere);
      const uint32_t place = count_bits(all_here & ((1u << at) - 1));
      if (expert != kElsewhere) {
        const ActiveExpert active{expert, place, 1, 0};
        memory.pairs[place] = at;
        memory.active[place] = active;
        if (writes) {
          to.sorted_pairs[place] = at;
          to.active[place] = active;
        }
      }
      if (at == 0) {
        memory.num_active[0] = count_bits(all_here);
        if (writes) *to.num_active = count_bits(all_here);
      }
    }
    sync_block();
    return lists;
  }
  if (at < num_pairs) {
    const uint32_t mine = memory.keys[at];
    uint32_t place = 0;
    for (uint32_t first = 0; first < num_pairs; first += 4) {
      const Words4 four = *reinterpret_cast<const Words4*>(memory.keys + first);
      TETRAD_UNROLL
      for (uint32_t i = 0; i < 4; ++i)
        place += first + i < num_pairs && four.word[i] < mine ? 1 : 0;
    }
    memory.sorted[place] = mine;
  }
  sync_block();
  static_assert(kMaxFewPairs == 64);
  if (warp() < 2) {
    // Where another expert's pairs begin; those of experts elsewhere come last.
    const auto begins = [&](uint32_t i) TETRAD_INLINE {
      return i < num_pairs && (i == 0 || memory.sorted[i - 1] >> 8 != memory.sorted[i] >> 8);
    };
    const uint64_t beginnings =
        uint64_t{ballot(begins(32 + lane()))} << 32 | ballot(begins(lane()));
    if (at < num_pairs) {
      const uint32_t expert = memory.sorted[at] >> 8;
      const uint32_t pair = memory.sorted[at] & 0xFFu;
      memory.pairs[at] = pair;
      if (writes) to.sorted_pairs[at] = pair;
      const bool is_here = expert != kElsewhere;
      const auto before =
          static_cast<uint32_t>(__builtin_popcountll(beginnings & ((uint64_t{1} << at) - 1)));
      if (is_here && begins(at)) {
        const uint64_t later = at + 1 < kMaxFewPairs ? beginnings >> (at + 1) : 0;
        const uint32_t end =
            later == 0 ? num_pairs : at + 1 + static_cast<uint32_t>(__builtin_ctzll(later));
        const ActiveExpert active{expert, at, end - at, 0};
        memory.active[before] = active;
        if (writes) to.active[before] = active;
      }
      if (at + 1 == num_pairs) {
        const uint32_t num_active =
            before + (is_here && begins(at) ? 1 : 0) - (!is_here && !begins(at) ? 1 : 0);
        memory.num_active[0] = num_active;
        if (writes) *to.num_active = num_active;
      }
    }
  }
  sync_block();
  return lists;
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
