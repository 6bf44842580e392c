#include "kernels/vocabulary_scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace tetrad {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// Lengths around whole vectors and blocks, and a long one.
std::vector<int64_t> scan_lengths() {
  std::vector<int64_t> lengths{1000, 4096};
  for (int64_t n = 1; n < 200; ++n)
    lengths.push_back(n);
  return lengths;
}

std::vector<float> scan_logits(int64_t n) {
  std::mt19937 random(static_cast<unsigned>(n));
  std::normal_distribution<float> normal(-4, 5);
  std::vector<float> logits(static_cast<size_t>(n));
  for (float& logit : logits)
    logit = normal(random);
  return logits;
}

class VocabularyScanTest : public testing::TestWithParam<const VocabularyScan*> {
 protected:
  const VocabularyScan& scan_ = *GetParam();

  /// The maxima, and in `finite` if all are.
  std::vector<float> maxima(const std::vector<float>& logits, bool& finite) const {
    std::vector<float> result((logits.size() + kVocabularyBlock - 1) / kVocabularyBlock);
    finite = scan_.block_maxima(logits.data(), std::ssize(logits), result.data());
    return result;
  }
};

TEST_P(VocabularyScanTest, MaximaOfBlocks) {
  for (const int64_t n : scan_lengths()) {
    std::vector<float> logits = scan_logits(n);
    for (const bool with_infinity : {false, true}) {
      if (with_infinity) logits[static_cast<size_t>(n) / 2] = kMinusInfinity;
      bool finite = false;
      const std::vector<float> found = maxima(logits, finite);
      EXPECT_EQ(finite, !with_infinity);
      for (size_t block = 0; block < found.size(); ++block) {
        const auto begin = logits.begin() + static_cast<ptrdiff_t>(block) * kVocabularyBlock;
        const auto length = std::min<ptrdiff_t>(kVocabularyBlock, logits.end() - begin);
        EXPECT_EQ(found[block], *std::max_element(begin, begin + length)) << n << ' ' << block;
      }
    }
  }
}

TEST_P(VocabularyScanTest, FindsWhatIsNotFiniteInEveryPlace) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -kMinusInfinity}) {
    for (const int64_t n : {1, 63, 64, 65, 150}) {
      for (int64_t place = 0; place < n; ++place) {
        std::vector<float> logits = scan_logits(n);
        logits[static_cast<size_t>(place)] = bad;
        bool finite = true;
        maxima(logits, finite);
        EXPECT_FALSE(finite) << bad << " at " << place << " of " << n;
      }
    }
  }
  bool finite = false;
  maxima(std::vector<float>(150, std::numeric_limits<float>::max()), finite);
  EXPECT_TRUE(finite);  // though their sum is not
}

TEST_P(VocabularyScanTest, ExpsAreAsNearAsPromised) {
  std::vector<float> logits(60'000);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = -static_cast<float>(i) * 0x1.77p-7f;  // to -687, over all of exp's reductions
  std::vector<double> exps(logits.size());
  for (const double shift : {0.0, 3.25}) {
    scan_.exps(logits.data(), std::ssize(logits), shift, 1, exps.data());
    for (size_t i = 0; i < logits.size(); ++i) {
      const long double right = std::exp(static_cast<long double>(logits[i] - shift));
      ASSERT_LT(std::abs(exps[i] - right), 0x1p-51L * right) << logits[i] - shift;
    }
  }
  scan_.exps(logits.data(), std::ssize(logits), 1, 0.5, exps.data());
  for (size_t i = 0; i < logits.size(); ++i) {
    const long double right = std::exp((static_cast<long double>(logits[i]) - 1) / 2);
    ASSERT_LT(std::abs(exps[i] - right), 0x1p-42L * right) << logits[i];
  }
}

TEST_P(VocabularyScanTest, ExpsOfVerySmallExponentsAreAlmostNothing) {
  const std::vector<float> logits{-700, -701, -746, -1e10f, -3e38f, kMinusInfinity, 0};
  std::vector<double> exps(logits.size());
  for (const double scale : {1.0, 1e44}) {
    scan_.exps(logits.data(), std::ssize(logits), 0, scale, exps.data());
    for (size_t i = 0; i + 1 < logits.size(); ++i) {
      EXPECT_GE(exps[i], 0) << logits[i];
      EXPECT_LE(exps[i], 1e-304) << logits[i];
    }
    EXPECT_EQ(exps.back(), 1);
  }
}

TEST_P(VocabularyScanTest, SumsOfBlocksAreThoseOfTheExps) {
  for (const int64_t n : scan_lengths()) {
    std::vector<float> logits = scan_logits(n);
    const double shift = *std::ranges::max_element(logits);
    std::vector<double> exps(logits.size());
    std::vector<double> sums((logits.size() + kVocabularyBlock - 1) / kVocabularyBlock);
    scan_.exps(logits.data(), n, shift, 0.7, exps.data());
    scan_.block_exp_sums(logits.data(), n, shift, 0.7, sums.data());
    for (size_t block = 0; block < sums.size(); ++block) {
      double sum = 0;
      for (size_t i = block * kVocabularyBlock;
           i < std::min(exps.size(), (block + 1) * kVocabularyBlock); ++i)
        sum += exps[i];
      EXPECT_NEAR(sums[block], sum, 1e-14 * sum) << n << ' ' << block;
    }
  }
}

TEST_P(VocabularyScanTest, CountsWhatIsAbove) {
  for (const int64_t n : scan_lengths()) {
    const std::vector<float> logits = scan_logits(n);
    for (const float bound : {logits[0], -4.0f, 1000.0f, -1000.0f}) {
      EXPECT_EQ(scan_.count_above(logits.data(), n, bound),
                std::ranges::count_if(logits, [=](float logit) { return logit > bound; }))
          << n << ' ' << bound;
    }
  }
}

TEST_P(VocabularyScanTest, FillsWhatIsUnset) {
  std::mt19937_64 random(1);
  for (const int64_t n : scan_lengths()) {
    const std::vector<float> before = scan_logits(n);
    std::vector<uint64_t> words(before.size() / 64 + 1);
    for (uint64_t& word : words)
      word = random();
    std::vector<float> after = before;
    scan_.fill_unset(after.data(), n, words.data(), kMinusInfinity);
    for (size_t i = 0; i < before.size(); ++i) {
      const bool set = (words[i / 64] >> (i % 64) & 1) != 0;
      EXPECT_EQ(after[i], set ? before[i] : kMinusInfinity) << n << ' ' << i;
    }
  }
}

std::vector<const VocabularyScan*> scans_of_this_machine() {
  std::vector<const VocabularyScan*> scans;
  for (auto scan = available_vocabulary_scans(); *scan != nullptr; ++scan)
    scans.push_back(*scan);
  return scans;
}

INSTANTIATE_TEST_SUITE_P(Isa, VocabularyScanTest, testing::ValuesIn(scans_of_this_machine()),
                         [](const auto& test) { return std::string(test.param->isa); });

}  // namespace
}  // namespace tetrad
