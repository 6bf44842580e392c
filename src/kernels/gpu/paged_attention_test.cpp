// Attention over the paged FP8 cache on the emulation: against sums in double, decode against
// prefill bit for bit, and whatever lies in the cache beyond a sequence.

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "base/sanitized_for_tests.h"
#include "kernels/gpu/decode_attention_for_tests.h"
#include "kernels/gpu/prefill_attention.h"

namespace tetrad::gpu {
namespace {

using testing_gpu::Emulation;
using testing_gpu::kAllEmulations;

constexpr uint32_t kKvHeads = 2;

/// A sequence's keys and values in a cache whose blocks are shuffled, and queries of its last
/// tokens.
struct AttentionCase {
  AttentionCase(uint32_t dim, uint32_t heads_of_group, uint32_t keys, uint32_t queries)
      : head_dim(dim), group(heads_of_group), num_keys(keys), num_queries(queries) {
    std::mt19937 random(num_keys * 31 + num_queries);
    const uint32_t blocks = tiles_for(num_keys, kKvBlock) + 1;
    table.resize(blocks);
    std::iota(table.begin(), table.end(), 0);
    std::shuffle(table.begin(), table.end(), random);
    // Codes of numbers up to 4, of either sign; beyond the sequence there are NaNs.
    const size_t bytes = size_t{blocks} * kKvHeads * kKvBlock * head_dim;
    k.assign(bytes, 0x7F);
    v.assign(bytes, 0xFF);
    for (uint32_t key = 0; key < num_keys; ++key) {
      for (uint32_t i = 0; i < kKvHeads * head_dim; ++i) {
        const auto code = [&] {
          return static_cast<uint8_t>((random() & 0x80u) | random() % 0x48);
        };
        k[at(key, i / head_dim, i % head_dim)] = code();
        v[at(key, i / head_dim, i % head_dim)] = code();
      }
    }
    std::normal_distribution<float> normal(0, 0.15f);
    q.resize(size_t{num_queries} * kKvHeads * group * head_dim);
    for (uint16_t& value : q)
      value = float_to_f16(normal(random) * kE4m3Factor);
  }

  size_t at(uint32_t key, uint32_t head, uint32_t d) const {
    const auto block = static_cast<size_t>(table[key / kKvBlock]);
    return ((block * kKvHeads + head) * kKvBlock + key % kKvBlock) * head_dim + d;
  }

  /// Of all queries, in double.
  std::vector<double> expected(double v_scale) const {
    std::vector<double> out;
    for (uint32_t query = 0; query < num_queries; ++query) {
      const uint32_t seen = num_keys - num_queries + query + 1;
      for (uint32_t head = 0; head < kKvHeads * group; ++head) {
        const uint16_t* mine = q.data() + (size_t{query} * kKvHeads * group + head) * head_dim;
        std::vector<double> weights(seen);
        double sum = 0;
        for (uint32_t key = 0; key < seen; ++key) {
          double score = 0;
          for (uint32_t d = 0; d < head_dim; ++d)
            score += static_cast<double>(f16_to_float(mine[d]) / kE4m3Factor) *
                     f8_e4m3_to_float(k[at(key, head / group, d)]);
          sum += weights[key] = std::exp2(score);
        }
        for (uint32_t d = 0; d < head_dim; ++d) {
          double value = 0;
          for (uint32_t key = 0; key < seen; ++key)
            value += weights[key] * f8_e4m3_to_float(v[at(key, head / group, d)]);
          out.push_back(value / sum * v_scale);
        }
      }
    }
    return out;
  }

  uint32_t head_dim, group, num_keys, num_queries;
  std::vector<int32_t> table;
  std::vector<uint8_t> k, v;
  std::vector<uint16_t> q;
};

class PagedAttentionTest : public testing::TestWithParam<testing_gpu::EmulationKind> {
 protected:
  /// Enough groups for that a launch of its own merges them.
  static constexpr uint32_t kManyGroups = 80;
  static_assert(kManyGroups > kGroupsOfLastBlock);

  /// All queries together (prefill), or only the last (decode), as halves in order.
  static std::vector<uint16_t> attend(const AttentionCase& c, bool decode, ThreadOrder order,
                                      uint32_t groups = 4) {
    Emulation gpu(GetParam(), order);
    const uint32_t queries = decode ? 1 : c.num_queries;
    const uint32_t width = kKvHeads * c.group * c.head_dim;
    const uint32_t floats = gpu.kernels().partial_floats(c.head_dim);
    std::vector<PrefillItem> items;
    for (uint32_t column = 0; column < queries * c.group; column += gpu.kernels().prefill_columns())
      items.push_back({0, static_cast<int32_t>(column)});
    const std::vector<uint16_t> q(c.q.end() - queries * width, c.q.end());
    // What decode brings itself is not in the cache yet.
    std::vector<uint8_t> k = c.k;
    std::vector<uint8_t> v = c.v;
    std::vector<uint8_t> last_key;
    std::vector<uint8_t> last_value;
    for (uint32_t i = 0; i < kKvHeads * c.head_dim && decode; ++i) {
      const size_t at = c.at(c.num_keys - 1, i / c.head_dim, i % c.head_dim);
      last_key.push_back(std::exchange(k[at], uint8_t{0x7F}));
      last_value.push_back(std::exchange(v[at], uint8_t{0xFF}));
    }
    const AttentionArgs args{
        .q = gpu.copy(q),
        .k_cache = gpu.copy(k),
        .v_cache = gpu.copy(v),
        .v_scale = 0.5f,
        .num_kv_heads = kKvHeads,
        .group = c.group,
        .query_start = gpu.copy(std::vector<int32_t>{0}),
        .query_len = gpu.copy(std::vector<int32_t>{static_cast<int32_t>(queries)}),
        .context_len = gpu.copy(std::vector<int32_t>{static_cast<int32_t>(c.num_keys - queries)}),
        .block_table = gpu.copy(c.table),
        .table_stride = static_cast<uint32_t>(c.table.size()),
        .attended = gpu.zeros<uint16_t>(queries * width),
        .attended_stride = width,
        .sequences = gpu.copy(std::vector<int32_t>{0}),
        .partial = gpu.zeros<float>(kKvHeads * groups * floats),
        .max_groups = groups,
        .finished = gpu.zeros<uint32_t>(kKvHeads),
        .items = gpu.copy(items),
        .num_items = static_cast<uint32_t>(items.size())};
    if (decode) {
      const int64_t last = c.num_keys - 1;
      const int64_t slot =
          int64_t{c.table[static_cast<size_t>(last / kKvBlock)]} * kKvBlock + last % kKvBlock;
      const auto product =
          testing_gpu::product_that_gives(q, last_key, last_value, 1, args.v_scale);
      const QkNormRopeArgs rope =
          testing_gpu::exact_norms(gpu, product, {slot}, kKvHeads * c.head_dim, args);
      gpu.kernels().attend_decode({args, rope}, c.head_dim, 1);
      gpu.check();
      EXPECT_EQ(gpu.read(args.k_cache, c.k.size()), c.k);
      EXPECT_EQ(gpu.read(args.v_cache, c.v.size()), c.v);
    } else {
      gpu.kernels().attend_prefill(args, c.head_dim);
    }
    gpu.check();
    for (const uint32_t counter : gpu.read(args.finished, kKvHeads))
      EXPECT_EQ(counter, 0u);
    const std::vector<uint16_t> stored = gpu.read(args.attended, queries * width);
    std::vector<uint16_t> out(stored.size());
    for (uint32_t row = 0; row < queries; ++row) {
      for (uint32_t i = 0; i < width; ++i)
        out[row * width + i] = stored[row * width + gpu.kernels().activation_offset(i)];
    }
    return out;
  }
};

TEST_P(PagedAttentionTest, IsWhatDoublesGiveAndTheSameInPrefillAndDecode) {
  for (const auto& [head_dim, group, keys, queries] : {std::array{128u, 6u, 1u, 1u},
                                                       {128u, 6u, 15u, 3u},
                                                       {64u, 2u, 16u, 16u},
                                                       {64u, 2u, 17u, 5u},
                                                       {128u, 8u, 65u, 2u},
                                                       {128u, 6u, 513u, 3u},
                                                       {64u, 1u, 1100u, 2u}}) {
    const AttentionCase c(head_dim, group, keys, queries);
    const std::vector<double> expected = c.expected(0.5);
    const std::vector<uint16_t> all = attend(c, false, ThreadOrder::ascending);
    ASSERT_EQ(all.size(), expected.size());
    for (size_t i = 0; i < all.size(); ++i) {
      // Weights and the result are rounded to halves.
      ASSERT_NEAR(f16_to_float(all[i]), expected[i], 1e-3 + std::abs(expected[i]) * 1e-3)
          << keys << " keys, head_dim " << head_dim << ", element " << i;
    }
    const std::vector<uint16_t> last = attend(c, true, ThreadOrder::shuffled);
    EXPECT_TRUE(std::equal(last.begin(), last.end(), all.end() - static_cast<long>(last.size())))
        << keys << " keys, head_dim " << head_dim;
    EXPECT_EQ(last, attend(c, true, ThreadOrder::descending));
    // By the last block, and by another launch.
    for (const uint32_t groups : {kGroupsOfLastBlock, kGroupsOfLastBlock + 1, kManyGroups})
      EXPECT_EQ(last, attend(c, true, ThreadOrder::shuffled, groups)) << groups;
  }
}

// Groups are merged some at a time.
TEST_P(PagedAttentionTest, ManyGroupsAreMergedByALaunchOfTheirOwn) {
  if (kSanitized) GTEST_SKIP() << "33,500 keys take minutes under sanitizers";
  const AttentionCase c(64, 1, 33'500, 1);
  ASSERT_GT(tiles_for(c.num_keys, kGroupKeys), 65u);
  const std::vector<double> expected = c.expected(0.5);
  const std::vector<uint16_t> out = attend(c, true, ThreadOrder::ascending, kManyGroups);
  for (size_t i = 0; i < out.size(); ++i)
    ASSERT_NEAR(f16_to_float(out[i]), expected[i], 1e-3 + std::abs(expected[i]) * 1e-3) << i;
}

INSTANTIATE_TEST_SUITE_P(Fragments, PagedAttentionTest, testing::ValuesIn(kAllEmulations),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace tetrad::gpu
