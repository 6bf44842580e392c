#include "engine/block_pool.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <deque>
#include <set>

namespace tetrad {
namespace {

TEST(BlockPool, HandsOutEveryBlockOnce) {
  BlockPool pool(5);
  EXPECT_EQ(pool.num_blocks(), 5);
  EXPECT_EQ(pool.take(), 0);  // a lone sequence walks memory forwards
  EXPECT_EQ(pool.take(), 1);
  EXPECT_EQ(pool.num_unused(), 3);
  const std::set<int32_t> rest{pool.take(), pool.take(), pool.take()};
  EXPECT_EQ(rest, (std::set<int32_t>{2, 3, 4}));
  EXPECT_EQ(pool.num_unused(), 0);
}

TEST(BlockPool, KeepsWhatIsWorthKeepingAsLongAsItCan) {
  BlockPool pool(4);
  for (int i = 0; i < 4; ++i)
    pool.take();
  pool.release(2, true);
  pool.release(0, true);
  pool.release(3, false);
  EXPECT_EQ(pool.take(), 3);
  EXPECT_EQ(pool.take(), 2);  // unused longest
  pool.share(0);              // found again in the queue
  EXPECT_EQ(pool.num_unused(), 0);
  pool.share(0);
  pool.release(0, true);
  EXPECT_EQ(pool.num_unused(), 0) << "somebody still uses it";
  pool.release(0, true);
  EXPECT_EQ(pool.take(), 0);
}

/// The queue and the counts, written the slow way.
struct SlowPool {
  std::vector<int> users;
  std::deque<int32_t> unused;
};

RC_GTEST_PROP(BlockPool, IsTheSlowPoolMadeFast, ()) {
  const auto num_blocks = *rc::gen::inRange<int32_t>(1, 20);
  BlockPool pool(num_blocks);
  SlowPool slow{std::vector<int>(static_cast<size_t>(num_blocks)), {}};
  for (int32_t block = 0; block < num_blocks; ++block)
    slow.unused.push_back(block);
  for (const int operation : *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 4000))) {
    const auto block = static_cast<int32_t>(operation / 4 % num_blocks);
    int& users = slow.users[static_cast<size_t>(block)];
    if (operation % 4 == 0 && !slow.unused.empty()) {
      const int32_t taken = pool.take();
      RC_ASSERT(taken == slow.unused.front());
      slow.unused.pop_front();
      slow.users[static_cast<size_t>(taken)] = 1;
    } else if (operation % 4 == 1) {
      pool.share(block);
      if (users++ == 0) slow.unused.erase(std::ranges::find(slow.unused, block));
    } else if (operation % 4 > 1 && users > 0) {
      pool.release(block, operation % 4 == 2);
      if (--users == 0 && operation % 4 == 2) slow.unused.push_back(block);
      if (users == 0 && operation % 4 == 3) slow.unused.push_front(block);
    }
    RC_ASSERT(pool.num_unused() == std::ssize(slow.unused));
    RC_ASSERT(pool.num_users(block) == users);
  }
}

}  // namespace
}  // namespace tetrad
