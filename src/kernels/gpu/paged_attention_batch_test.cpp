// Attention of batches on the emulation: sequences of every length beside each other, prompts cut
// anywhere, launches made again for other lengths, and caches full of what nobody wrote.

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "base/sanitized_for_tests.h"
#include "kernels/gpu/decode_attention_for_tests.h"
#include "kernels/gpu/paged_attention.h"
#include "kernels/gpu/prefill_attention.h"

namespace tetrad::gpu {
namespace {

using testing_gpu::Emulation;
using testing_gpu::kAllEmulations;

constexpr uint32_t kBatchKvHeads = 2;
constexpr float kBatchVScale = 0.75f;

/// Sequences with as many keys as `lengths` says, in the blocks of one cache, shuffled, and a
/// query of every key.
struct BatchCase {
  BatchCase(uint32_t dim, uint32_t heads_of_group, std::vector<uint32_t> keys)
      : head_dim(dim), group(heads_of_group), lengths(std::move(keys)) {
    for (const uint32_t length : lengths)
      stride = std::max(stride, tiles_for(length, kKvBlock));
    table.resize(lengths.size() * stride);
    std::iota(table.begin(), table.end(), 0);
    std::shuffle(table.begin(), table.end(), random);
    k.assign(table.size() * kKvBlock * kBatchKvHeads * head_dim, 0x7F);
    v.assign(k.size(), 0xFF);
    std::normal_distribution<float> normal(0, 1.5f / std::sqrt(static_cast<float>(head_dim)));
    q.resize(lengths.size());
    for (uint32_t s = 0; s < lengths.size(); ++s) {
      for (uint32_t i = 0; i < lengths[s] * kBatchKvHeads * head_dim; ++i) {
        k[at(s, i)] = static_cast<uint8_t>((random() & 0x80u) | random() % 0x40);
        v[at(s, i)] = static_cast<uint8_t>((random() & 0x80u) | random() % 0x48);
      }
      q[s].resize(size_t{lengths[s]} * width());
      for (uint16_t& value : q[s])
        value = float_to_f16(normal(random) * kE4m3Factor);
    }
  }

  uint32_t num_heads() const { return kBatchKvHeads * group; }
  uint32_t width() const { return num_heads() * head_dim; }
  /// Element i of a sequence's keys or values, [keys, kv heads, head_dim].
  size_t at(uint32_t s, uint32_t i) const {
    const uint32_t key = i / (kBatchKvHeads * head_dim);
    const auto block = static_cast<size_t>(table[s * stride + key / kKvBlock]);
    return ((block * kBatchKvHeads + i / head_dim % kBatchKvHeads) * kKvBlock + key % kKvBlock) *
               head_dim +
           i % head_dim;
  }
  /// Bytes of the cache that are no sequence's.
  void fill_rest(uint8_t with) {
    std::vector<bool> used(k.size());
    for (uint32_t s = 0; s < lengths.size(); ++s) {
      for (uint32_t i = 0; i < lengths[s] * kBatchKvHeads * head_dim; ++i)
        used[at(s, i)] = true;
    }
    for (size_t i = 0; i < k.size(); ++i) {
      if (!used[i]) k[i] = v[i] = with;
    }
  }

  /// Of the query of key `key`: every head's output and how far off rounding may take it. Weights
  /// are halves in the sum and in the denominator, and so is the result: 2^-11 each.
  struct Expected {
    std::vector<double> out;
    std::vector<double> tolerance;
  };
  Expected expected(uint32_t s, uint32_t key) const {
    Expected result;
    for (uint32_t head = 0; head < num_heads(); ++head) {
      const uint16_t* mine = q[s].data() + size_t{key} * width() + head * head_dim;
      std::vector<double> weights(key + 1);
      for (uint32_t other = 0; other <= key; ++other) {
        for (uint32_t d = 0; d < head_dim; ++d)
          weights[other] +=
              static_cast<double>(f16_to_float(mine[d])) / kE4m3Factor *
              f8_e4m3_to_float(k[at(s, (other * kBatchKvHeads + head / group) * head_dim + d)]);
      }
      const double largest = *std::max_element(weights.begin(), weights.end());
      double sum = 0;
      for (double& weight : weights)
        sum += weight = std::exp2(weight - largest);
      for (uint32_t d = 0; d < head_dim; ++d) {
        double value = 0;
        double magnitude = 0;
        for (uint32_t other = 0; other <= key; ++other) {
          const double term =
              weights[other] / sum *
              f8_e4m3_to_float(v[at(s, (other * kBatchKvHeads + head / group) * head_dim + d)]);
          value += term;
          magnitude += std::abs(term);
        }
        result.out.push_back(value * kBatchVScale);
        result.tolerance.push_back(kBatchVScale *
                                   (std::abs(value) * 0x1p-11 + magnitude * 0x1p-10 + 1e-6));
      }
    }
    return result;
  }

  uint32_t head_dim, group;
  uint32_t stride = 1;
  std::vector<uint32_t> lengths;
  std::mt19937 random{7};
  std::vector<int32_t> table;
  std::vector<uint8_t> k, v;
  std::vector<std::vector<uint16_t>> q;  // of a sequence, [keys, num_heads, head_dim]
};

/// The queries first to first + count of a sequence of the case.
struct BatchSlice {
  uint32_t sequence = 0;
  uint32_t first = 0;
  uint32_t count = 1;
};

class PagedAttentionBatchTest : public testing::TestWithParam<testing_gpu::EmulationKind> {
 protected:
  /// The key or the value of a slice's last query.
  static std::vector<uint8_t> last_row(const BatchCase& c, const std::vector<uint8_t>& cache,
                                       const BatchSlice& slice) {
    const uint32_t size = kBatchKvHeads * c.head_dim;
    std::vector<uint8_t> row;
    row.reserve(size);
    for (uint32_t i = 0; i < size; ++i)
      row.push_back(cache[c.at(slice.sequence, (slice.first + slice.count - 1) * size + i)]);
    return row;
  }
  /// What decode reads of `slices`, of one query each: the product.
  static std::vector<float> product(const BatchCase& c, const std::vector<BatchSlice>& slices) {
    std::vector<uint16_t> q;
    std::vector<uint8_t> k;
    std::vector<uint8_t> v;
    for (const BatchSlice& slice : slices) {
      const auto query = c.q[slice.sequence].begin() + slice.first * c.width();
      q.insert(q.end(), query, query + c.width());
      for (const auto& [rows, cache] : {std::pair{&k, &c.k}, std::pair{&v, &c.v}}) {
        const std::vector<uint8_t> row = last_row(c, *cache, slice);
        rows->insert(rows->end(), row.begin(), row.end());
      }
    }
    return testing_gpu::product_that_gives(q, k, v, static_cast<uint32_t>(slices.size()),
                                           kBatchVScale);
  }
  static std::vector<int64_t> slots(const BatchCase& c, const std::vector<BatchSlice>& slices) {
    std::vector<int64_t> all;
    all.reserve(slices.size());
    for (const BatchSlice& slice : slices)
      all.push_back(int64_t{c.table[slice.sequence * c.stride + slice.first / kKvBlock]} *
                        kKvBlock +
                    slice.first % kKvBlock);
    return all;
  }
  /// As prepare(), of slices of one query. What such a slice brings itself is not in the cache yet,
  /// but where another slice of its sequence may see it.
  static DecodeAttentionArgs prepare_decode(Emulation& gpu, BatchCase c,
                                            const std::vector<BatchSlice>& slices,
                                            uint32_t max_groups) {
    const std::vector<float> rows = product(c, slices);
    for (const BatchSlice& slice : slices) {
      if (std::ranges::count(slices, slice.sequence, &BatchSlice::sequence) > 1) continue;
      const uint32_t size = kBatchKvHeads * c.head_dim;
      for (uint32_t i = 0; i < size; ++i) {
        c.k[c.at(slice.sequence, slice.first * size + i)] = 0x7F;
        c.v[c.at(slice.sequence, slice.first * size + i)] = 0xFF;
      }
    }
    const AttentionArgs args = prepare(gpu, c, slices, max_groups);
    return {args, testing_gpu::exact_norms(gpu, rows, slots(c, slices), kBatchKvHeads * c.head_dim,
                                           args)};
  }
  /// What a launch needs of `slices`, on the device.
  static AttentionArgs prepare(Emulation& gpu, const BatchCase& c,
                               const std::vector<BatchSlice>& slices, uint32_t max_groups) {
    std::vector<int32_t> start;
    std::vector<int32_t> count;
    std::vector<int32_t> context;
    std::vector<int32_t> table;
    std::vector<PrefillItem> items;
    std::vector<uint16_t> q;
    int32_t rows = 0;
    for (const BatchSlice& slice : slices) {
      for (uint32_t column = 0; column < slice.count * c.group;
           column += gpu.kernels().prefill_columns())
        items.push_back({static_cast<int32_t>(start.size()), static_cast<int32_t>(column)});
      start.push_back(rows);
      count.push_back(static_cast<int32_t>(slice.count));
      context.push_back(static_cast<int32_t>(slice.first));
      const auto blocks = c.table.begin() + slice.sequence * c.stride;
      table.insert(table.end(), blocks, blocks + c.stride);
      const auto queries = c.q[slice.sequence].begin() + slice.first * c.width();
      q.insert(q.end(), queries, queries + slice.count * c.width());
      rows += static_cast<int32_t>(slice.count);
    }
    std::vector<int32_t> sequences(slices.size());
    std::iota(sequences.begin(), sequences.end(), 0);
    const uint32_t floats = gpu.kernels().partial_floats(c.head_dim);
    const auto num_slices = static_cast<uint32_t>(slices.size());
    return {
        .q = gpu.copy(q),
        .k_cache = gpu.copy(c.k),
        .v_cache = gpu.copy(c.v),
        .v_scale = kBatchVScale,
        .num_kv_heads = kBatchKvHeads,
        .group = c.group,
        .query_start = gpu.copy(start),
        .query_len = gpu.copy(count),
        .context_len = gpu.copy(context),
        .block_table = gpu.copy(table),
        .table_stride = c.stride,
        .attended = gpu.zeros<uint16_t>(static_cast<uint64_t>(rows) * c.width()),
        .attended_stride = c.width(),
        .sequences = gpu.copy(sequences),
        .partial = reinterpret_cast<float*>(
            gpu.allocate(uint64_t{num_slices} * kBatchKvHeads * max_groups * floats * 4)),
        .max_groups = max_groups,
        .finished = gpu.zeros<uint32_t>(uint64_t{num_slices} * kBatchKvHeads),
        .items = gpu.copy(items),
        .num_items = static_cast<uint32_t>(items.size()),
    };
  }
  /// Rows of halves, in order.
  static std::vector<uint16_t> read(Emulation& gpu, const BatchCase& c, const AttentionArgs& args,
                                    uint32_t rows) {
    const std::vector<uint16_t> stored = gpu.read(args.attended, uint64_t{rows} * c.width());
    std::vector<uint16_t> out(stored.size());
    for (uint32_t i = 0; i < out.size(); ++i)
      out[i] = stored[i / c.width() * c.width() + gpu.kernels().activation_offset(i % c.width())];
    return out;
  }

  static std::vector<uint16_t> decode(const BatchCase& c, const std::vector<BatchSlice>& slices,
                                      uint32_t max_groups,
                                      ThreadOrder order = ThreadOrder::ascending) {
    Emulation gpu(GetParam(), order);
    const DecodeAttentionArgs all = prepare_decode(gpu, c, slices, max_groups);
    const AttentionArgs& args = all.attention;
    const auto count = static_cast<uint32_t>(slices.size());
    gpu.kernels().attend_decode(all, c.head_dim, count);
    gpu.check();
    EXPECT_EQ(gpu.read(args.k_cache, c.k.size()), c.k);
    EXPECT_EQ(gpu.read(args.v_cache, c.v.size()), c.v);
    for (const uint32_t counter : gpu.read(args.finished, uint64_t{count} * kBatchKvHeads))
      EXPECT_EQ(counter, 0u);
    return read(gpu, c, args, count);
  }
  static std::vector<uint16_t> prefill(const BatchCase& c, const std::vector<BatchSlice>& slices,
                                       ThreadOrder order = ThreadOrder::ascending,
                                       int64_t num_multiprocessors = 2) {
    Emulation gpu(GetParam(), order, num_multiprocessors);
    const AttentionArgs args = prepare(gpu, c, slices, 1);
    gpu.kernels().attend_prefill(args, c.head_dim);
    gpu.check();
    const bool by_rows = gpu.launched().back().starts_with("attend_prefill_rows");
    EXPECT_EQ(by_rows, !GetParam().is_gfx12 && GetParam().has_warpgroups);
    uint32_t rows = 0;
    for (const BatchSlice& slice : slices)
      rows += slice.count;
    return read(gpu, c, args, rows);
  }

  static std::vector<BatchSlice> last_queries(const BatchCase& c) {
    std::vector<BatchSlice> slices;
    slices.reserve(c.lengths.size());
    for (uint32_t s = 0; s < c.lengths.size(); ++s)
      slices.push_back({s, c.lengths[s] - 1, 1});
    return slices;
  }

  static void expect_right(const BatchCase& c, const std::vector<BatchSlice>& slices,
                           const std::vector<uint16_t>& attended) {
    size_t at = 0;
    for (const BatchSlice& slice : slices) {
      for (uint32_t i = 0; i < slice.count; ++i) {
        const BatchCase::Expected want = c.expected(slice.sequence, slice.first + i);
        for (size_t j = 0; j < want.out.size(); ++j, ++at) {
          ASSERT_NEAR(f16_to_float(attended.at(at)), want.out[j], want.tolerance[j])
              << "query " << slice.first + i << " of " << c.lengths[slice.sequence]
              << " keys, element " << j << ", head_dim " << c.head_dim << ", group " << c.group;
        }
      }
    }
  }
};

TEST_P(PagedAttentionBatchTest, SequencesOfAllLengthsBesideEachOtherAreRight) {
  for (const uint32_t head_dim : {64u, 128u}) {
    for (const uint32_t group : {2u, 6u}) {
      const BatchCase c(head_dim, group,
                        {300, 1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 130, 511, 512, 513, 1025});
      const std::vector<BatchSlice> slices = last_queries(c);
      // Three groups are wanted; a graph may be made for more.
      const std::vector<uint16_t> attended = decode(c, slices, 4);
      expect_right(c, slices, attended);
      EXPECT_EQ(prefill(c, slices), attended) << "head_dim " << head_dim << ", group " << group;
    }
  }
}

TEST_P(PagedAttentionBatchTest, MoreGroupsOfKeysThanTheLastBlockReadsAtOnceAreRight) {
  const BatchCase c(64, 2, {8 * kGroupKeys + 300, 8 * kGroupKeys});
  const std::vector<uint16_t> attended = decode(c, last_queries(c), 16);
  expect_right(c, last_queries(c), attended);
  EXPECT_EQ(prefill(c, last_queries(c)), attended);
}

TEST_P(PagedAttentionBatchTest, GroupsOfKeysThatTheLastBlockReadsInSeveralTurnsAreRight) {
  if (kSanitized) GTEST_SKIP() << "17,000 keys take minutes under sanitizers";
  // It has the sums of 32 of them at a time (NVIDIA; gfx12: 8).
  const BatchCase c(64, 1, {33 * kGroupKeys + 5});
  const std::vector<uint16_t> attended = decode(c, last_queries(c), 40);
  expect_right(c, last_queries(c), attended);
  EXPECT_EQ(prefill(c, last_queries(c)), attended);
}

TEST_P(PagedAttentionBatchTest, EveryGroupOfKeysHasAPlaceOfItsOwn) {
  // On a GPU all blocks run at once; here one after the other, which would hide a shared place.
  const BatchCase c(64, 2, {3 * kGroupKeys, kGroupKeys + 1, kGroupKeys});
  const std::vector<uint32_t> groups = {3, 2, 0};  // one group alone needs no place
  constexpr uint32_t kGroups = 4;
  Emulation gpu(GetParam());
  const DecodeAttentionArgs all = prepare_decode(gpu, c, last_queries(c), kGroups);
  const AttentionArgs& args = all.attention;
  gpu.kernels().attend_decode(all, c.head_dim, 3);
  gpu.check();
  const uint32_t floats = gpu.kernels().partial_floats(c.head_dim);
  const std::vector<float> partial =
      gpu.read(args.partial, uint64_t{3} * kBatchKvHeads * kGroups * floats);
  for (uint32_t i = 0; i < partial.size(); ++i) {
    // Memory that was never written holds NaNs.
    const bool is_used = i / floats % kGroups < groups[i / floats / kGroups / kBatchKvHeads];
    ASSERT_EQ(std::isnan(partial[i]), !is_used) << "float " << i;
  }
}

TEST_P(PagedAttentionBatchTest, APromptCutAnywhereHasTheSameBits) {
  for (const auto& [head_dim, group] : {std::pair{128u, 6u}, std::pair{64u, 3u}}) {
    const BatchCase c(head_dim, group, {149, 21});
    const std::vector<BatchSlice> whole = {{0, 0, 149}};
    const std::vector<uint16_t> at_once = prefill(c, whole);
    expect_right(c, whole, at_once);
    std::vector<uint16_t> in_chunks;
    for (uint32_t first = 0; first < 149;) {
      const uint32_t chunk = std::min(first % 3 == 0 ? 31u : 17u, 149 - first);
      // Beside another sequence's chunk, which comes first.
      const std::vector<uint16_t> both = prefill(c, {{1, 2, 5}, {0, first, chunk}});
      in_chunks.insert(in_chunks.end(), both.begin() + 5 * c.width(), both.end());
      first += chunk;
    }
    EXPECT_EQ(in_chunks, at_once) << "head_dim " << head_dim;
    // And as steps of one token.
    for (const uint32_t query : {0u, 1u, 15u, 16u, 63u, 64u, 100u, 148u}) {
      const std::vector<uint16_t> step = decode(c, {{1, 20, 1}, {0, query, 1}}, 1);
      EXPECT_TRUE(
          std::equal(step.begin() + c.width(), step.end(), at_once.begin() + query * c.width()))
          << "query " << query << ", head_dim " << head_dim;
    }
  }
}

TEST_P(PagedAttentionBatchTest, PrefillHasDecodesBitsAtEveryEdge) {
  // Of a tile of columns, of a warp's tiles, of a block's (prefill_columns() of them), of blocks of
  // keys, splits and groups.
  for (const auto& [head_dim, group] :
       {std::pair{64u, 8u}, std::pair{128u, 8u}, std::pair{128u, 6u}, std::pair{64u, 1u}}) {
    const BatchCase c(head_dim, group, {545});
    for (const uint32_t first : {0u, 13u, 500u}) {
      if (kSanitized && first != 13)
        continue;  // the others' code is the same, and it takes a minute
      for (const uint32_t count : {1u, 2u, 8u, 11u, 25u, 33u, 45u}) {
        std::vector<BatchSlice> steps;
        steps.reserve(count);
        for (uint32_t i = 0; i < count; ++i)
          steps.push_back({0, first + i, 1});
        EXPECT_EQ(prefill(c, {{0, first, count}}), decode(c, steps, 2))
            << "head_dim " << head_dim << ", group " << group << ", queries " << first << " to "
            << first + count;
      }
    }
  }
}

TEST_P(PagedAttentionBatchTest, ThreadsInAnyOrderGiveTheSameBits) {
  const BatchCase c(128, 6, {70, 530});
  const std::vector<BatchSlice> prompts = {{0, 51, 19}, {1, 495, 35}};
  const std::vector<uint16_t> decoded = decode(c, last_queries(c), 2);
  const std::vector<uint16_t> prefilled = prefill(c, prompts);
  for (const ThreadOrder order : {ThreadOrder::descending, ThreadOrder::shuffled}) {
    EXPECT_EQ(decode(c, last_queries(c), 2, order), decoded);
    EXPECT_EQ(prefill(c, prompts, order), prefilled);
  }
}

TEST_P(PagedAttentionBatchTest, BlocksThatStayTakeAnyNumberOfColumns) {
  // Eight pieces of work: by one block all, by others not as many each, and some of them one split.
  const BatchCase c(128, 6, {200, 64, 130});
  const std::vector<BatchSlice> prompts = {{0, 170, 30}, {1, 60, 4}, {2, 120, 5}};
  const std::vector<uint16_t> attended = prefill(c, prompts);
  expect_right(c, prompts, attended);
  for (const int64_t num_multiprocessors : {1, 3, 5, 7, 20}) {
    EXPECT_EQ(prefill(c, prompts, ThreadOrder::shuffled, num_multiprocessors), attended)
        << num_multiprocessors;
  }
}

TEST_P(PagedAttentionBatchTest, WhatLiesBeyondASequenceDoesNotMatter) {
  BatchCase c(128, 6, {17, 129});
  const std::vector<BatchSlice> prompts = {{0, 0, 17}, {1, 119, 10}};
  c.fill_rest(0);
  const std::vector<uint16_t> decoded = decode(c, last_queries(c), 1);
  const std::vector<uint16_t> prefilled = prefill(c, prompts);
  expect_right(c, last_queries(c), decoded);
  // Both NaNs, the largest numbers, and minus zero.
  for (const uint8_t code : {0x7F, 0xFF, 0x7E, 0xFE, 0x80}) {
    c.fill_rest(code);
    EXPECT_EQ(decode(c, last_queries(c), 1), decoded) << "filled with " << int{code};
    EXPECT_EQ(prefill(c, prompts), prefilled) << "filled with " << int{code};
  }
}

TEST_P(PagedAttentionBatchTest, AGraphServesOtherLengths) {
  const BatchCase c(64, 6, {1600, 40});
  Emulation gpu(GetParam());
  const DecodeAttentionArgs all = prepare_decode(gpu, c, {{0, 1599, 1}, {1, 39, 1}}, 4);
  const AttentionArgs& args = all.attention;
  Device& device = gpu.device();
  ASSERT_TRUE(device.begin_graph());
  gpu.kernels().attend_decode(all, c.head_dim, 2);
  const auto graph = device.end_graph();
  ASSERT_TRUE(graph);
  gpu.check();
  for (const auto& [first, second] :
       {std::pair{1599u, 39u}, {699u, 3u}, {2u, 39u}, {1599u, 0u}, {511u, 16u}}) {
    const std::vector<BatchSlice> slices = {{0, first, 1}, {1, second, 1}};
    const std::vector<int32_t> context = {static_cast<int32_t>(first),
                                          static_cast<int32_t>(second)};
    const auto copy = [&](const void* to, const auto& from) {
      ASSERT_TRUE(device.copy_to_device(reinterpret_cast<DeviceAddress>(to), from.data(),
                                        static_cast<int64_t>(from.size() * sizeof(from[0]))));
    };
    copy(args.context_len, context);
    copy(all.rope.qkv, product(c, slices));
    copy(all.rope.slot_mapping, slots(c, slices));
    ASSERT_TRUE(device.launch(**graph));
    expect_right(c, slices, read(gpu, c, args, 2));
    EXPECT_EQ(gpu.read(args.finished, 2 * kBatchKvHeads), std::vector<uint32_t>(4));
  }
}

TEST_P(PagedAttentionBatchTest, EveryCodeOfAValueIsExact) {
  // With one key all weights are 1: what comes out is the value itself.
  for (const uint32_t head_dim : {64u, 128u}) {
    BatchCase c(head_dim, 2, std::vector<uint32_t>(256 / head_dim, 1));
    for (uint32_t code = 0; code < 256; ++code) {
      for (uint32_t head = 0; head < kBatchKvHeads; ++head) {
        const bool is_nan = (code & 0x7Fu) == 0x7F;
        c.v[c.at(code / head_dim, head * head_dim + code % head_dim)] =
            static_cast<uint8_t>(is_nan ? 0 : code);
      }
    }
    const std::vector<uint16_t> decoded = decode(c, last_queries(c), 1);
    for (uint32_t i = 0; i < decoded.size(); ++i) {
      const uint32_t code = i / c.width() * head_dim + i % head_dim;
      const float value = (code & 0x7Fu) == 0x7F ? 0 : f8_e4m3_to_float(static_cast<uint8_t>(code));
      ASSERT_EQ(f16_to_float(decoded[i]), value * kBatchVScale) << "code " << code;
    }
    EXPECT_EQ(prefill(c, last_queries(c)), decoded);
  }
}

TEST_P(PagedAttentionBatchTest, ScoresFarApartAreMergedRight) {
  // Keys of one dimension: each block of 16, split and group far above or below those before it,
  // by more than a float's exponents, so that what came before, or comes after, is nothing beside
  // it.
  BatchCase c(64, 2, {1100});
  for (uint32_t key = 0; key < 1100; ++key) {
    for (uint32_t i = 0; i < kBatchKvHeads * 64; ++i)
      c.k[c.at(0, key * kBatchKvHeads * 64 + i)] =
          i % 64 == 0 ? static_cast<uint8_t>(key / 16 % 7 * 0x11 | (key / 64 % 2 << 7)) : 0;
  }
  for (size_t i = 0; i < c.q[0].size(); ++i)
    c.q[0][i] = float_to_f16(i % 64 == 0 ? (i / 64 % 2 == 0 ? 3.0f : -1.5f) * kE4m3Factor : 0);
  for (const uint32_t first : {15u, 200u, 600u, 1080u}) {
    const std::vector<BatchSlice> prompt = {{0, first, 20}};
    const std::vector<uint16_t> prefilled = prefill(c, prompt);
    expect_right(c, prompt, prefilled);
    for (const uint32_t step : {0u, 1u, 19u}) {
      const std::vector<uint16_t> decoded = decode(c, {{0, first + step, 1}}, 3);
      EXPECT_TRUE(std::equal(decoded.begin(), decoded.end(), prefilled.begin() + step * c.width()))
          << "query " << first + step;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fragments, PagedAttentionBatchTest, testing::ValuesIn(kAllEmulations),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace tetrad::gpu
