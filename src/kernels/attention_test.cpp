// Attention over an E4M3 cache on shapes that its own inner loops take: against the reference, and
// the same bits whatever the batch, the prefill chunk, the number of threads and who sums which
// split of a long context. Blocks that nobody wrote hold NaN all along (PagedCache).

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/sanitized_for_tests.h"
#include "kernels/cpu/attention_tiles.h"
#include "kernels/kernels.h"
#include "kernels/kernels_test_util.h"

namespace tetrad {
namespace {

using testing_kernels::make_kernels;
using testing_kernels::Matrix;
using testing_kernels::PagedCache;

/// Inner loops for E4M3 caches, with the loops of the other operations beside them.
struct E4m3Case {
  std::string name;
  const SimdKernels* simd = nullptr;
  const E4m3Attention* attention = nullptr;
  float tolerance = 0;  // of the largest expected value
};

/// BF16 rounds queries and shares to 8 bits; the others only reorder float sums.
std::vector<E4m3Case> e4m3_cases() {
  std::vector<E4m3Case> cases = {
      {"generic", simd_generic(), &simd_generic()->e4m3_attention, 4e-6f}};
  if (make_kernels("avx2") != nullptr) {
    cases.push_back({"avx2", simd_avx2(), &simd_avx2()->e4m3_attention, 4e-6f});
  }
  if (make_kernels("avx512") != nullptr) {
    cases.push_back({"avx512", simd_avx512(), &simd_avx512()->e4m3_attention, 4e-6f});
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bf16")) {
      cases.push_back({"avx512_bf16", simd_avx512(), e4m3_attention_avx512_bf16(), 1e-2f});
    }
#endif
  }
  return cases;
}

struct E4m3Heads {
  int64_t num_kv_heads, heads_per_kv_head, head_dim;

  int64_t q_size() const { return num_kv_heads * heads_per_kv_head * head_dim; }
};

class E4m3AttentionTest : public testing::Test {
 protected:
  Matrix attend(const E4m3Case& loops, int num_threads, Matrix& q, const Batch& batch,
                const KvCacheLayer& layer) {
    ThreadPool pool(num_threads);
    TiledAttention attention(pool, *loops.simd, *loops.attention);
    Matrix out(q.all().rows, q.all().cols);
    attention.run(q.all(), batch, layer, out.all());
    return out;
  }

  std::mt19937 random_{11};
  std::unique_ptr<Kernels> reference_ = make_reference_kernels();
};

/// The largest difference, in units of the largest expected value; infinite where one is NaN.
float difference(const Matrix& actual, const Matrix& expected) {
  float largest = std::numeric_limits<float>::min();
  float worst = 0;
  for (size_t i = 0; i < expected.values().size(); ++i) {
    largest = std::max(largest, std::abs(expected.values()[i]));
    const float error = std::abs(actual.values()[i] - expected.values()[i]);
    worst = error <= worst ? worst : std::isnan(error) ? INFINITY : error;
  }
  return worst / largest;
}

TEST_F(E4m3AttentionTest, AgreesWithTheReference) {
  for (const E4m3Heads heads :
       {E4m3Heads{8, 6, 128}, E4m3Heads{4, 2, 64}, E4m3Heads{1, 1, 192}, E4m3Heads{2, 7, 256},
        E4m3Heads{1, 100, 64}, E4m3Heads{2, 3, 80}, E4m3Heads{1, 5, 320}}) {
    PagedCache cache(DType::f8_e4m3, heads.num_kv_heads, heads.head_dim, random_);
    // Decode and chunks around the edges of blocks (16), chunks of keys (64) and tiles.
    for (const auto& [context, query] : std::initializer_list<std::pair<int64_t, int64_t>>{
             {0, 1}, {16, 1}, {62, 1}, {63, 1}, {64, 1}, {65, 1}, {0, 70}, {60, 9}, {61, 35}}) {
      cache.add_sequence(context, query);
    }
    cache.write_all(*reference_, random_);
    Matrix q(cache.num_rows(), heads.q_size(), random_, 2.0f);
    Matrix expected(cache.num_rows(), heads.q_size());
    reference_->attention(q.all(), cache.batch(), cache.layer(), expected.all());
    for (const E4m3Case& loops : e4m3_cases()) {
      const Matrix actual = attend(loops, 2, q, cache.batch(), cache.layer());
      EXPECT_LE(difference(actual, expected), loops.tolerance)
          << loops.name << ", head_dim " << heads.head_dim;
    }
  }
}

/// One sequence over several splits, its keys in random blocks of a cache full of NaN.
class LongSequence {
 public:
  LongSequence(const E4m3Heads& heads, int64_t num_tokens, std::mt19937& random)
      : table_(static_cast<size_t>(kv_blocks_for(num_tokens))) {
    std::iota(table_.begin(), table_.end(), 1);
    std::shuffle(table_.begin(), table_.end(), random);
    const int64_t num_blocks = kv_blocks_for(num_tokens) + 1;
    memory_.resize(
        static_cast<size_t>(2 * num_blocks * heads.num_kv_heads * kKvBlockSize * heads.head_dim),
        std::byte{0xFF});
    layer_ = {.dtype = DType::f8_e4m3,
              .k_scale = 0.04f,
              .v_scale = 0.2f,
              .k = memory_.data(),
              .v = memory_.data() + memory_.size() / 2,
              .num_blocks = num_blocks,
              .num_kv_heads = heads.num_kv_heads,
              .head_dim = heads.head_dim};
    std::vector<int64_t> slots;
    for (int64_t token = 0; token < num_tokens; ++token) {
      slots.push_back(table_[static_cast<size_t>(token / kKvBlockSize)] * kKvBlockSize +
                      token % kKvBlockSize);
    }
    Matrix k(num_tokens, heads.num_kv_heads * heads.head_dim, random);
    Matrix v(num_tokens, heads.num_kv_heads * heads.head_dim, random);
    make_reference_kernels()->write_kv(k.all(), v.all(), slots, layer_);
  }

  SequenceSlice slice(int64_t context, int64_t count) const {
    return {.query_len = count, .context_len = context, .block_table = table_};
  }
  const KvCacheLayer& layer() const { return layer_; }
  /// Of the first KV head.
  std::byte* key(int64_t position) const {
    const int64_t block = table_[static_cast<size_t>(position / kKvBlockSize)];
    return layer_.k +
           (block * layer_.num_kv_heads * kKvBlockSize + position % kKvBlockSize) * layer_.head_dim;
  }

 private:
  std::vector<int32_t> table_;
  std::vector<std::byte> memory_;
  KvCacheLayer layer_;
};

TEST_F(E4m3AttentionTest, SplitsOfALongContextAgreeWithTheReference) {
  const E4m3Heads heads{2, 6, 64};
  for (const int64_t context : {kSplitKeys - 1, kSplitKeys, 2 * kSplitKeys + 100}) {
    if (kSanitized && context != kSplitKeys) continue;
    const LongSequence sequence(heads, context + 1, random_);
    const SequenceSlice slice = sequence.slice(context, 1);
    Matrix q(1, heads.q_size(), random_, 4.0f);
    Matrix expected(1, heads.q_size());
    reference_->attention(q.all(), {.sequences = {&slice, 1}}, sequence.layer(), expected.all());
    for (const E4m3Case& loops : e4m3_cases()) {
      for (const int num_threads : {1, 3}) {
        const Matrix actual =
            attend(loops, num_threads, q, {.sequences = {&slice, 1}}, sequence.layer());
        EXPECT_LE(difference(actual, expected), loops.tolerance)
            << loops.name << ", context " << context << ", threads " << num_threads;
      }
    }
  }
}

TEST_F(E4m3AttentionTest, OneSplitMayOutweighTheOthersBeyondTheRangeOfExp) {
  const E4m3Heads heads{1, 6, 64};
  constexpr int64_t kKeys = 2 * kSplitKeys + 10;
  for (const int64_t heavy : {int64_t{5}, kSplitKeys + 1, kKeys - 1}) {
    if (kSanitized && heavy != kKeys - 1) continue;
    const LongSequence sequence(heads, kKeys, random_);
    for (int64_t position = 0; position < kKeys; ++position)
      *sequence.key(position) = std::byte{0};
    *sequence.key(heavy) = std::byte{0x7E};  // 448
    const SequenceSlice slice = sequence.slice(kKeys - 1, 1);
    Matrix q(1, heads.q_size());
    for (int64_t head = 0; head < heads.heads_per_kv_head; ++head)
      q.values()[static_cast<size_t>(head * heads.head_dim)] = 64.0f;  // the heavy score is 143
    Matrix expected(1, heads.q_size());
    reference_->attention(q.all(), {.sequences = {&slice, 1}}, sequence.layer(), expected.all());
    for (const E4m3Case& loops : e4m3_cases()) {
      for (const int num_threads : {1, 3}) {
        const Matrix actual =
            attend(loops, num_threads, q, {.sequences = {&slice, 1}}, sequence.layer());
        EXPECT_LE(difference(actual, expected), 1e-6f)
            << loops.name << ", key " << heavy << ", threads " << num_threads;
      }
    }
  }
}

TEST_F(E4m3AttentionTest, AnyPrefillChunkAndAnyThreadsGiveTheSameBits) {
  const E4m3Heads heads{1, 6, 64};
  constexpr int64_t kRows = 80;
  for (const int64_t context : {int64_t{0}, kSplitKeys - 70, 2 * kSplitKeys - 3}) {
    if (kSanitized && context > kSplitKeys) continue;
    const LongSequence sequence(heads, context + kRows, random_);
    Matrix q(kRows, heads.q_size(), random_, 3.0f);
    for (const E4m3Case& loops : e4m3_cases()) {
      const SequenceSlice all = sequence.slice(context, kRows);
      const Matrix expected = attend(loops, 1, q, {.sequences = {&all, 1}}, sequence.layer());
      for (const auto& [chunk, num_threads] : std::initializer_list<std::pair<int64_t, int>>{
               {1, 3}, {7, 2}, {16, 1}, {64, 3}, {kRows, 2}}) {
        ThreadPool pool(num_threads);
        TiledAttention attention(pool, *loops.simd, *loops.attention);
        Matrix actual(kRows, heads.q_size());
        for (int64_t first = 0; first < kRows; first += chunk) {
          const int64_t count = std::min(chunk, kRows - first);
          const SequenceSlice slice = sequence.slice(context + first, count);
          attention.run(q.part(first, count), {.sequences = {&slice, 1}}, sequence.layer(),
                        actual.part(first, count));
        }
        ASSERT_EQ(std::memcmp(actual.values().data(), expected.values().data(),
                              expected.values().size() * sizeof(float)),
                  0)
            << loops.name << ", context " << context << ", chunks of " << chunk << ", threads "
            << num_threads;
      }
    }
  }
}

TEST_F(E4m3AttentionTest, OtherSequencesOfTheBatchChangeNothing) {
  const E4m3Heads heads{8, 6, 128};
  PagedCache cache(DType::f8_e4m3, heads.num_kv_heads, heads.head_dim, random_);
  for (const auto& [context, query] :
       std::initializer_list<std::pair<int64_t, int64_t>>{{200, 1}, {0, 40}, {33, 1}, {100, 29}})
    cache.add_sequence(context, query);
  cache.write_all(*reference_, random_);
  Matrix q(cache.num_rows(), heads.q_size(), random_);
  for (const E4m3Case& loops : e4m3_cases()) {
    Matrix together = attend(loops, 3, q, cache.batch(), cache.layer());
    for (const SequenceSlice& sequence : cache.batch().sequences) {
      SequenceSlice first = sequence;
      first.query_start = 0;
      Matrix own_q(sequence.query_len, heads.q_size(),
                   {q.all().row(sequence.query_start),
                    q.all().row(sequence.query_start + sequence.query_len)});
      const Matrix alone = attend(loops, 1, own_q, {.sequences = {&first, 1}}, cache.layer());
      EXPECT_EQ(std::memcmp(alone.values().data(), together.all().row(sequence.query_start),
                            alone.values().size() * sizeof(float)),
                0)
          << loops.name;
    }
  }
}

/// Two keys and values of 64 dims in a block whose rest is NaN, each 0 unless given.
struct TwoKeys {
  static constexpr int64_t kDim = 64;

  TwoKeys() : memory(2 * kKvBlockSize * kDim, std::byte{0x7F}) {
    layer = {.dtype = DType::f8_e4m3,
             .k = memory.data(),
             .v = memory.data() + kKvBlockSize * kDim,
             .num_blocks = 1,
             .num_kv_heads = 1,
             .head_dim = kDim};
    std::fill_n(layer.k, 2 * kDim, std::byte{0});
    std::fill_n(layer.v, 2 * kDim, std::byte{0});
  }
  SequenceSlice slice() const { return {.query_len = 1, .context_len = 1, .block_table = table}; }

  std::vector<int32_t> table = {0};
  std::vector<std::byte> memory;
  KvCacheLayer layer;
};

TEST_F(E4m3AttentionTest, ReadsEveryCodeOfAValue) {
  for (const E4m3Case& loops : e4m3_cases()) {
    for (int code = 0; code < 256; ++code) {
      TwoKeys keys;
      for (int64_t i = 0; i < 2 * TwoKeys::kDim; i += 2)
        keys.layer.v[i] = std::byte{static_cast<uint8_t>(code)};
      const SequenceSlice slice = keys.slice();
      Matrix q(1, TwoKeys::kDim);
      const Matrix out = attend(loops, 1, q, {.sequences = {&slice, 1}}, keys.layer);
      const float expected = f8_e4m3_to_float(static_cast<uint8_t>(code));
      for (size_t i = 0; i < TwoKeys::kDim; ++i) {
        if (i % 2 == 0 && std::isnan(expected)) {
          ASSERT_TRUE(std::isnan(out.values()[i])) << loops.name;
        } else {
          ASSERT_FLOAT_EQ(out.values()[i], i % 2 == 0 ? expected : 0.0f)
              << loops.name << ", code " << code << ", dim " << i;
        }
      }
    }
  }
}

/// The query makes a score of 1 to 2 of every code, where a neighbour would change the share of the
/// value by a hundredth.
TEST_F(E4m3AttentionTest, ReadsEveryCodeOfAKey) {
  for (const E4m3Case& loops : e4m3_cases()) {
    for (int code = 0; code < 256; ++code) {
      const float value = f8_e4m3_to_float(static_cast<uint8_t>(code));
      TwoKeys keys;
      const int64_t dim = code % TwoKeys::kDim;
      keys.layer.k[dim] = std::byte{static_cast<uint8_t>(code)};
      keys.layer.v[0] = std::byte{0x38};  // 1
      const SequenceSlice slice = keys.slice();
      Matrix q(1, TwoKeys::kDim);
      const float power = value == 0 ? 1.0f : std::exp2(-std::floor(std::log2(std::abs(value))));
      q.values()[static_cast<size_t>(dim)] = std::isnan(value) ? 1.0f : 8.0f * power;
      const Matrix out = attend(loops, 1, q, {.sequences = {&slice, 1}}, keys.layer);
      if (std::isnan(value)) {
        ASSERT_TRUE(std::isnan(out.values()[0])) << loops.name;
      } else {
        ASSERT_NEAR(out.values()[0], 1.0f / (1.0f + std::exp(-value * power)), 2e-3f)
            << loops.name << ", code " << code;
      }
    }
  }
}

}  // namespace
}  // namespace tetrad
