#include "kv_events/event_collector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <numeric>

namespace tetrad::kv_events {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr PrefixHash kOne{.low = 1, .high = 10};
constexpr PrefixHash kTwo{.low = 2, .high = 20};
constexpr PrefixHash kThree{.low = 3, .high = 30};

class EventCollectorTest : public testing::Test {
 protected:
  void collect(int64_t max_queue_size) {
    queue_ = EventQueue::create(max_queue_size).value();
    collector_ = std::make_unique<EventCollector>(*queue_, KvEventCounters::in(registry_, {}));
  }
  void store(std::optional<PrefixHash> parent, std::vector<PrefixHash> hashes) {
    std::vector<TokenId> tokens(hashes.size() * kKvBlockSize);
    std::iota(tokens.begin(), tokens.end(), 100);
    collector_->on_blocks_stored({.parent = parent, .hashes = hashes, .tokens = tokens});
  }
  bool has_news() const {
    pollfd file{.fd = queue_->news(), .events = POLLIN, .revents = 0};
    return ::poll(&file, 1, 0) == 1;
  }
  uint64_t dropped() { return KvEventCounters::in(registry_, {}).dropped.value(); }

  metrics::Registry registry_;
  std::unique_ptr<EventQueue> queue_;
  std::unique_ptr<EventCollector> collector_;
};

TEST_F(EventCollectorTest, ItBeginsWithAnEmptyCache) {
  collect(4);
  EXPECT_TRUE(has_news());
  const EventQueue::Taken taken = queue_->take();
  ASSERT_THAT(taken.batches, SizeIs(1));
  EXPECT_EQ(taken.batches[0].sequence, 0);
  EXPECT_GT(taken.batches[0].timestamp, 1.6e9);
  ASSERT_THAT(taken.batches[0].events, SizeIs(1));
  EXPECT_EQ(taken.batches[0].events[0].kind, KvEvent::Kind::cleared);
  EXPECT_FALSE(taken.closed);
  EXPECT_FALSE(has_news());
}

TEST_F(EventCollectorTest, AStepIsABatchInItsOrder) {
  collect(4);
  queue_->take();
  collector_->on_block_removed(kOne);
  collector_->on_block_removed(kTwo);
  store(kThree, {kOne, kTwo});
  collector_->on_block_removed(kThree);
  EXPECT_FALSE(has_news());
  collector_->on_step({});
  collector_->on_step({});  // nothing changed
  const EventQueue::Taken taken = queue_->take();
  ASSERT_THAT(taken.batches, SizeIs(1));
  EXPECT_EQ(taken.batches[0].sequence, 1);
  const std::vector<KvEvent>& events = taken.batches[0].events;
  ASSERT_THAT(events, SizeIs(3));
  EXPECT_EQ(events[0].kind, KvEvent::Kind::removed);
  EXPECT_THAT(events[0].hashes, ElementsAre(1, 2));
  EXPECT_EQ(events[1].kind, KvEvent::Kind::stored);
  EXPECT_THAT(events[1].hashes, ElementsAre(1, 2));
  EXPECT_EQ(events[1].parent, 3);
  EXPECT_THAT(events[1].tokens, SizeIs(2 * kKvBlockSize));
  EXPECT_EQ(events[1].tokens.front(), 100);
  EXPECT_EQ(events[2].kind, KvEvent::Kind::removed);
  EXPECT_THAT(events[2].hashes, ElementsAre(3));
}

TEST_F(EventCollectorTest, WhatDoesNotFitIsCountedAndLeavesAGap) {
  collect(2);  // the first batch is there already
  for (int i = 0; i < 3; ++i) {
    store(std::nullopt, {kOne});
    collector_->on_block_removed(kOne);
    collector_->on_step({});
  }
  EXPECT_EQ(dropped(), 4);
  EXPECT_THAT(queue_->take().batches, SizeIs(2));
  store(std::nullopt, {kTwo});
  collector_->on_step({});
  const EventQueue::Taken taken = queue_->take();
  ASSERT_THAT(taken.batches, SizeIs(1));
  EXPECT_EQ(taken.batches[0].sequence, 4);
  EXPECT_THAT(taken.batches[0].events[0].hashes, ElementsAre(2));
  EXPECT_FALSE(taken.batches[0].events[0].parent);
}

TEST_F(EventCollectorTest, AClosedQueueSaysSo) {
  collect(4);
  queue_->close();
  EXPECT_TRUE(has_news());
  store(std::nullopt, {kOne});
  collector_->on_step({});
  const EventQueue::Taken taken = queue_->take();
  EXPECT_TRUE(taken.closed);
  EXPECT_THAT(taken.batches, SizeIs(1));
  EXPECT_EQ(dropped(), 1);
}

TEST(EventSequence, IsEightBytesBigEndian) {
  EXPECT_EQ(encode_sequence(0x0102030405060708), "\1\2\3\4\5\6\7\10");
  EXPECT_EQ(encode_sequence(~uint64_t{0}), std::string(8, '\xff'));
  for (const uint64_t sequence : {uint64_t{0}, uint64_t{200}, uint64_t{1} << 63})
    EXPECT_EQ(decode_sequence(encode_sequence(sequence)), sequence);
  EXPECT_FALSE(decode_sequence(""));
  EXPECT_FALSE(decode_sequence("1234567"));
  EXPECT_FALSE(decode_sequence("123456789"));
}

}  // namespace
}  // namespace tetrad::kv_events
