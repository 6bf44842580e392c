#include "plan/roofline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "plan/gpu_memory.h"
#include "plan/models_for_tests.h"

namespace tetrad::plan {
namespace {

Roofline m2_7_on_eight(MachineRates rates) {
  const PlannedModel model = minimax_m2_7();
  return {model, kEight, kv_token_bytes(model.config, kEight, DType::f8_e4m3), rates};
}

TEST(Roofline, DistinctExpertsAreWhatRandomRoutingGives) {
  const Roofline roofline = m2_7_on_eight({});
  EXPECT_DOUBLE_EQ(roofline.distinct_experts(1), 8);
  std::mt19937 random(7);
  std::vector<int> experts(256);
  std::iota(experts.begin(), experts.end(), 0);
  for (const int tokens : {8, 48}) {
    constexpr int kTrials = 2000;
    size_t seen = 0;
    for (int trial = 0; trial < kTrials; ++trial) {
      std::set<int> distinct;
      for (int token = 0; token < tokens; ++token)
        std::sample(experts.begin(), experts.end(), std::inserter(distinct, distinct.end()), 8,
                    random);
      seen += distinct.size();
    }
    EXPECT_NEAR(roofline.distinct_experts(tokens), static_cast<double>(seen) / kTrials, 0.5);
  }
}

// The expected numbers are worked out by hand from the published shapes.

TEST(Roofline, OneTokenReadsItsExpertsAndAllThatIsNotAnExpert) {
  const DecodeForecast empty = m2_7_on_eight({}).decode(1, 0);
  const double experts = 62.0 * 8 * 3 * 1536 * 3072 * 0.625 / 8;
  const double attention = 62.0 * 2 * (6144 + 1024) * 3072 * 0.625 / 8;
  const double head = 200064.0 * 3072 * 2 / 8;
  const double embedding_row = 3072 * 2.0 / 8;  // one GPU in eight reads it
  const double router = 62.0 * (256 * 3072 * 2 + 256 * 4);
  const double norms = 2 * (62.0 * (2 * 3072 + 768 + 128) + 3072);
  EXPECT_NEAR(empty.bytes, experts + attention + head + embedding_row + router + norms, 1);
  EXPECT_NEAR(empty.bytes, 1'013'966'080, 1);
  // 10.4 G without the embedding, as published; and one key for the token itself.
  EXPECT_NEAR(empty.multiply_adds, 10'415'112'192.0 + 2.0 * 62 * 6144, 1);
  EXPECT_FALSE(empty.seconds);
  EXPECT_FALSE(empty.tokens_per_second());
}

TEST(Roofline, EachSequenceReadsItsOwnCache) {
  const Roofline roofline = m2_7_on_eight({});
  const double without = roofline.decode(4, 0).bytes;
  const double with = roofline.decode(4, 1000).bytes;
  EXPECT_NEAR(with - without, 4.0 * 1000 * 15872, 1);
}

TEST(Roofline, TheSlowerOfReadingAndComputingDecides) {
  const double bytes = m2_7_on_eight({}).decode(1, 0).bytes;
  const DecodeForecast read = m2_7_on_eight({.bytes_per_second = 640e9}).decode(1, 0);
  EXPECT_DOUBLE_EQ(read.seconds.value_or(0), bytes / 640e9);
  EXPECT_DOUBLE_EQ(read.tokens_per_second().value_or(0), 640e9 / bytes);
  const DecodeForecast computed =
      m2_7_on_eight({.bytes_per_second = 640e9, .operations_per_second = 1e9}).decode(1, 0);
  EXPECT_DOUBLE_EQ(computed.seconds.value_or(0), 2 * read.multiply_adds / 8 / 1e9);
}

TEST(Roofline, PrefillSumsOverTheTriangleOfKeys) {
  const Roofline roofline = m2_7_on_eight({.operations_per_second = 100e12});
  const double layers = 62.0 * (8 * 3 * 1536 * 3072 + 2 * (6144 + 1024) * 3072 + 256 * 3072);
  double keys = 0;
  for (int position = 0; position < 5000; ++position)
    keys += position + 1;
  const PrefillForecast prefill = roofline.prefill(5000, 2048);
  EXPECT_EQ(prefill.chunks, 3);
  EXPECT_NEAR(prefill.multiply_adds, 5000 * layers + 200064.0 * 3072 + keys * 2 * 62 * 6144, 1e3);
  EXPECT_DOUBLE_EQ(prefill.compute_seconds.value_or(0), 2 * prefill.multiply_adds / 8 / 100e12);
  EXPECT_FALSE(prefill.read_seconds);
}

TEST(Roofline, ChunksReadTheWeightsAndTheCacheBeforeThem) {
  const Roofline roofline = m2_7_on_eight({});
  // A chunk of 2048 visits every expert: 256 (1 - (1 - 8/256)^2048) is 256 to the last digit.
  const double one = roofline.prefill(2048, 2048).bytes;
  const double three = roofline.prefill(3 * 2048, 2048).bytes;
  const double head = 200064.0 * 3072 * 2 / 8;
  EXPECT_NEAR(three, 3 * one - 2 * head + (2048 + 2 * 2048) * 15872.0, 10);
}

TEST(Roofline, ExpertParallelismReadsAsMuchOnAverage) {
  const PlannedModel model = minimax_m2_7();
  const Layout dealt{.tensor_parallel = 8, .expert_parallel = true};
  EXPECT_DOUBLE_EQ(Roofline(model, dealt, 15872, {}).decode(8, 0).bytes,
                   Roofline(model, kEight, 15872, {}).decode(8, 0).bytes);
}

}  // namespace
}  // namespace tetrad::plan
