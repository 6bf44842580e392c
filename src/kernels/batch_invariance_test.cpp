// The promise of kernels.h: the bits of a row depend on nothing but the row. Every operation that
// sums is run on a whole batch by one thread, and then row by row and in batches of many sizes by
// several threads; the results must be equal, not close.

#include <gtest/gtest.h>

#include "base/sanitized_for_tests.h"
#include "kernels/kernels.h"
#include "kernels/kernels_test_util.h"

namespace tetrad {
namespace {

using testing_kernels::format_name;
using testing_kernels::make_kernels;
using testing_kernels::Matrix;
using testing_kernels::PackedMatrix;
using testing_kernels::PagedCache;
using testing_kernels::RandomExperts;

constexpr int64_t kRows = 67;
/// Sizes of the parts the batch is cut into; the last repeats until the batch is used up.
const std::vector<std::vector<int64_t>> kCuts = {{1},  {2},  {3, 4},     {5, 6, 7},
                                                 {13}, {48}, {1, 65, 1}, {67}};

class BatchInvariance : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    whole_ = make_kernels(GetParam(), 1);
    if (whole_ == nullptr) GTEST_SKIP() << "no " << GetParam() << " on this machine";
    for (int num_threads = 1; num_threads <= 5; ++num_threads)
      several_.push_back(make_kernels(GetParam(), num_threads));
  }

  /// compute(kernels, first, count) fills rows first … first + count - 1 of `out`.
  template <class Compute>
  void expect_same_bits(Matrix& out, const std::string& what, const Compute& compute) {
    compute(*whole_, 0, kRows);
    const Matrix expected = out;
    size_t turn = 0;
    for (const std::vector<int64_t>& cut : kCuts) {
      if (kSanitized && cut.size() != 3) continue;
      std::ranges::fill(out.values(), 0.0f);
      size_t part = 0;
      for (int64_t first = 0; first < kRows;) {
        const int64_t count = std::min(cut[std::min(part++, cut.size() - 1)], kRows - first);
        compute(*several_[turn++ % several_.size()], first, count);
        first += count;
      }
      ASSERT_EQ(std::memcmp(out.values().data(), expected.values().data(),
                            expected.values().size() * sizeof(float)),
                0)
          << what << " in parts of " << cut[0];
    }
  }

  std::mt19937 random_{42};
  std::unique_ptr<Kernels> whole_;
  std::vector<std::unique_ptr<Kernels>> several_;
};

/// With activations of either type.
class MatMulInvariance : public BatchInvariance {};

TEST_P(MatMulInvariance, Linear) {
  for (const WeightFormat format : testing_kernels::formats_of(GetParam())) {
    for (const int64_t cols :
         {int64_t{1552}, int64_t{testing_kernels::column_grain(format) > 1 ? 48 : 131}}) {
      const PackedMatrix weight(format, 203, cols, random_);
      Matrix x(kRows, cols, random_);
      Matrix out(kRows, 203);
      expect_same_bits(
          out, format_name(format), [&](Kernels& kernels, int64_t first, int64_t count) {
            kernels.linear(weight.view(), x.part(first, count), out.part(first, count));
          });
    }
  }
}

TEST_P(BatchInvariance, RmsNorm) {
  Matrix x(kRows, 387, random_);
  const Matrix weight(1, 387, random_);
  Matrix out(kRows, 387);
  expect_same_bits(out, "rms_norm", [&](Kernels& kernels, int64_t first, int64_t count) {
    kernels.rms_norm(x.part(first, count), weight.values(), 1e-6f, out.part(first, count));
  });
}

TEST_P(MatMulInvariance, Experts) {
  for (const WeightFormat format : testing_kernels::formats_of(GetParam())) {
    const RandomExperts experts(format, WeightFormat::f16, 8, 144, 80, random_);
    auto choices = testing_kernels::random_choices(kRows, 8, 3, random_);
    Matrix x(kRows, 144, random_);
    Matrix out(kRows, 144);
    expect_same_bits(out, format_name(format), [&](Kernels& kernels, int64_t first, int64_t count) {
      kernels.experts(x.part(first, count), experts.view(), choices.routing(first, count),
                      out.part(first, count));
    });
  }
}

TEST_P(BatchInvariance, AttentionInAnyPrefillChunk) {
  for (const DType dtype : testing_kernels::kEveryCacheType) {
    PagedCache cache(dtype, 2, 40, random_);
    cache.add_sequence(0, kRows);
    cache.write_all(*whole_, random_);
    Matrix q(kRows, 2 * 3 * 40, random_, 2.0f);
    Matrix out(kRows, 2 * 3 * 40);
    expect_same_bits(out, std::string(dtype_name(dtype)),
                     [&](Kernels& kernels, int64_t first, int64_t count) {
                       SequenceSlice chunk = cache.batch().sequences[0];
                       chunk.context_len = first;
                       chunk.query_len = count;
                       kernels.attention(q.part(first, count), {.sequences = {&chunk, 1}},
                                         cache.layer(), out.part(first, count));
                     });
  }
}

TEST_P(BatchInvariance, AttentionBesideOtherSequences) {
  PagedCache cache(DType::f32, 2, 64, random_);
  for (const auto& [context, query] :
       std::initializer_list<std::pair<int64_t, int64_t>>{{50, 1}, {0, 40}, {33, 1}, {10, 9}})
    cache.add_sequence(context, query);
  cache.write_all(*whole_, random_);
  Matrix q(cache.num_rows(), 2 * 4 * 64, random_);
  Matrix together(cache.num_rows(), 2 * 4 * 64);
  Matrix alone = together;
  several_[2]->attention(q.all(), cache.batch(), cache.layer(), together.all());
  for (const SequenceSlice& sequence : cache.batch().sequences) {
    SequenceSlice first = sequence;
    first.query_start = 0;
    whole_->attention(q.part(sequence.query_start, sequence.query_len), {.sequences = {&first, 1}},
                      cache.layer(), alone.part(sequence.query_start, sequence.query_len));
  }
  EXPECT_EQ(alone.values(), together.values());
}

// Not in the contract, but true and worth keeping: the two sum in the same lanes with the same
// tree, so machines of both kinds give the same tokens.
TEST(AcrossMachines, Avx2EqualsAvx512) {
  const auto avx2 = make_kernels("avx2");
  const auto avx512 = make_kernels("avx512");
  if (avx2 == nullptr || avx512 == nullptr) GTEST_SKIP() << "this machine does not have both";
  std::mt19937 random(7);
  for (const WeightFormat format : testing_kernels::kEveryFormat) {
    const RandomExperts experts(format, WeightFormat::f16, 8, 144, 80, random);
    auto choices = testing_kernels::random_choices(kRows, 8, 3, random);
    Matrix x(kRows, 144, random);
    Matrix wide(kRows, 144), narrow(kRows, 144);
    avx512->experts(x.all(), experts.view(), choices.routing(), wide.all());
    avx2->experts(x.all(), experts.view(), choices.routing(), narrow.all());
    EXPECT_EQ(wide.values(), narrow.values()) << format_name(format);
  }
  for (const DType dtype : testing_kernels::kEveryCacheType) {
    PagedCache cache(dtype, 2, 40, random);
    cache.add_sequence(30, kRows);
    cache.write_all(*avx512, random);
    Matrix q(kRows, 2 * 3 * 40, random, 2.0f);
    Matrix wide(kRows, 2 * 3 * 40), narrow(kRows, 2 * 3 * 40);
    avx512->attention(q.all(), cache.batch(), cache.layer(), wide.all());
    avx2->attention(q.all(), cache.batch(), cache.layer(), narrow.all());
    EXPECT_EQ(wide.values(), narrow.values()) << dtype_name(dtype);
  }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, BatchInvariance,
                         testing::Values("generic", "avx2", "avx512"),
                         [](const auto& test) { return test.param; });
INSTANTIATE_TEST_SUITE_P(InstructionSets, MatMulInvariance,
                         testing::Values("generic", "avx2", "avx512", "generic_int8", "avx2_int8",
                                         "avx512_int8"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace tetrad
