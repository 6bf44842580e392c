#include "model/graph_cache.h"

#include <gtest/gtest.h>

namespace tetrad {
namespace {

class CountedGraph final : public gpu::Graph {
 public:
  explicit CountedGraph(int& count) : count_(count) { ++count_; }
  ~CountedGraph() override { --count_; }
  CountedGraph(const CountedGraph&) = delete;
  CountedGraph& operator=(const CountedGraph&) = delete;

 private:
  int& count_;
};

TEST(GraphCache, RecordsWhatComesAgain) {
  int graphs = 0;
  GraphCache<int> cache;
  EXPECT_FALSE(cache.find(1).is_worth_recording);
  EXPECT_FALSE(cache.find(2).is_worth_recording);
  const auto again = cache.find(1);
  EXPECT_EQ(again.graph, nullptr);
  ASSERT_TRUE(again.is_worth_recording);
  const gpu::Graph& graph = cache.add(1, std::make_unique<CountedGraph>(graphs));
  EXPECT_EQ(cache.find(1).graph, &graph);
  EXPECT_TRUE(cache.find(2).is_worth_recording);
  cache.clear();
  EXPECT_EQ(graphs, 0);
  EXPECT_FALSE(cache.find(1).is_worth_recording);
}

TEST(GraphCache, KeepsThoseUsedLast) {
  int graphs = 0;
  GraphCache<int> cache;
  const auto record = [&](int shape) {
    cache.find(shape);
    ASSERT_TRUE(cache.find(shape).is_worth_recording);
    cache.add(shape, std::make_unique<CountedGraph>(graphs));
  };
  constexpr int kMax = GraphCache<int>::kMaxGraphs;
  for (int shape = 0; shape < kMax; ++shape)
    record(shape);
  EXPECT_EQ(graphs, kMax);
  EXPECT_NE(cache.find(0).graph, nullptr);  // used again: 1 is the oldest now
  record(kMax);
  EXPECT_EQ(graphs, kMax);
  EXPECT_EQ(cache.num_graphs(), GraphCache<int>::kMaxGraphs);
  EXPECT_NE(cache.find(0).graph, nullptr);
  EXPECT_EQ(cache.find(1).graph, nullptr);
}

TEST(GraphCache, ForgetsShapesThatCameOnceLongAgo) {
  GraphCache<int> cache;
  cache.find(-1);
  for (int shape = 0; shape < static_cast<int>(GraphCache<int>::kMaxRemembered); ++shape)
    cache.find(shape);
  EXPECT_FALSE(cache.find(-1).is_worth_recording);
  EXPECT_TRUE(cache.find(100).is_worth_recording);
}

}  // namespace
}  // namespace tetrad
