#include "engine/block_pool.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>

namespace tetrad {
namespace {

TEST(BlockPool, HandsOutEveryBlockOnce) {
  BlockPool pool(5);
  EXPECT_EQ(pool.num_blocks(), 5);
  const std::vector<int32_t> two = pool.take(2);
  EXPECT_EQ(two, (std::vector<int32_t>{0, 1}));  // a lone sequence walks memory forwards
  EXPECT_EQ(pool.num_free(), 3);
  const std::vector<int32_t> rest = pool.take(3);
  EXPECT_EQ(std::set<int32_t>(rest.begin(), rest.end()), (std::set<int32_t>{2, 3, 4}));
  EXPECT_EQ(pool.num_free(), 0);
  EXPECT_TRUE(pool.take(0).empty());
}

RC_GTEST_PROP(BlockPool, NeverLosesOrDoublesABlock, ()) {
  const auto num_blocks = *rc::gen::inRange<int64_t>(0, 40);
  BlockPool pool(num_blocks);
  std::vector<std::vector<int32_t>> owned;
  const auto operations = *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 1000));
  for (const int operation : operations) {
    if (operation % 2 == 0) {
      const int64_t count = operation / 2 % (pool.num_free() + 1);
      owned.push_back(pool.take(count));
      RC_ASSERT(static_cast<int64_t>(owned.back().size()) == count);
    } else if (!owned.empty()) {
      const auto which = owned.begin() + operation / 2 % static_cast<int64_t>(owned.size());
      pool.give_back(*which);
      RC_ASSERT(which->empty());
      owned.erase(which);
    }
    std::set<int32_t> distinct;
    int64_t num_owned = 0;
    for (const auto& blocks : owned) {
      distinct.insert(blocks.begin(), blocks.end());
      num_owned += static_cast<int64_t>(blocks.size());
    }
    RC_ASSERT(static_cast<int64_t>(distinct.size()) == num_owned);
    RC_ASSERT((distinct.empty() || (*distinct.begin() >= 0 && *distinct.rbegin() < num_blocks)));
    RC_ASSERT(pool.num_free() + num_owned == num_blocks);
  }
}

}  // namespace
}  // namespace tetrad
