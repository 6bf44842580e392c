#include "grammar/byte_dfa.h"

#include <gtest/gtest.h>

#include <string_view>

namespace tetrad::grammar {
namespace {

constexpr ByteDfa::State kNone = ByteDfa::kDead;

/// 'a' is class 1, 'b' class 2, everything else class 0.
ByteDfa dfa_of(const std::vector<ByteDfa::State>& next, std::vector<int32_t> labels) {
  std::array<uint8_t, 256> class_of{};
  class_of['a'] = 1;
  class_of['b'] = 2;
  return ByteDfa(class_of, 3, next, std::move(labels));
}

TEST(ByteDfa, KeepsWhatIsLiveAndReachable) {
  // 0 -a-> 2 -b-> 4 (accepts 7); 0 -b-> 1, which leads nowhere; 3 leads to 4, but nothing to it.
  const ByteDfa dfa = dfa_of({kNone, 2, 1,      //
                              kNone, 1, kNone,  //
                              kNone, kNone, 4,  //
                              kNone, 4, kNone,  //
                              kNone, 1, kNone},
                             {-1, -1, -1, -1, 7});
  ASSERT_EQ(dfa.num_states(), 3U);
  const ByteDfa::State middle = dfa.next(ByteDfa::kStart, 'a');
  ASSERT_NE(middle, ByteDfa::kDead);
  const ByteDfa::State last = dfa.next(middle, 'b');
  ASSERT_NE(last, ByteDfa::kDead);
  EXPECT_EQ(dfa.next(ByteDfa::kStart, 'b'), ByteDfa::kDead);
  EXPECT_EQ(dfa.next(ByteDfa::kStart, 'c'), ByteDfa::kDead);
  EXPECT_EQ(dfa.next(last, 'a'), ByteDfa::kDead);
  EXPECT_EQ(dfa.label(last), 7);
  EXPECT_FALSE(dfa.accepts(middle));
  EXPECT_TRUE(dfa.goes_on(middle));
  EXPECT_FALSE(dfa.goes_on(last));
  EXPECT_EQ(dfa.min_bytes(ByteDfa::kStart), 2);
  EXPECT_EQ(dfa.min_bytes(middle), 1);
  EXPECT_EQ(dfa.min_bytes(last), 0);
}

TEST(ByteDfa, NothingIsNoStates) {
  EXPECT_TRUE(dfa_of({}, {}).empty());
  EXPECT_TRUE(dfa_of({1, 0, 0, 0, 1, 1}, {-1, -1}).empty());
  // What accepts cannot be reached.
  EXPECT_TRUE(dfa_of({0, 0, 0, 1, 1, 1}, {-1, 0}).empty());
}

TEST(ByteDfa, TheFewestBytesTakeTheShortestWay) {
  // 0 -b-> 2 accepts at once, 0 -a-> 1 -a-> 0 only turns round.
  const ByteDfa dfa = dfa_of({kNone, 1, 2, kNone, 0, kNone, 2, 2, 2}, {-1, -1, 0});
  EXPECT_EQ(dfa.min_bytes(ByteDfa::kStart), 1);
  EXPECT_EQ(dfa.min_bytes(dfa.next(ByteDfa::kStart, 'a')), 2);
  const ByteDfa::State loop = dfa.next(ByteDfa::kStart, 'b');
  EXPECT_TRUE(dfa.goes_on(loop));
  EXPECT_EQ(dfa.next(loop, 0xFF), loop);
}

}  // namespace
}  // namespace tetrad::grammar
