// What subscribers get is in tests/kv_events, where they are Python's.

#include "kv_events/zmq_publisher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tetrad::kv_events {
namespace {

using testing::HasSubstr;

TEST(ZmqPublisher, IsRefusedByABuildWithoutIt) {
  if (check_has_kv_events()) GTEST_SKIP() << "this build has it";
  metrics::Registry registry;
  const auto publisher = start_kv_event_publisher({}, registry, {});
  ASSERT_FALSE(publisher);
  EXPECT_THAT(publisher.error().message, HasSubstr("-DTETRAD_KV_EVENTS=ON"));
}

TEST(ZmqPublisher, ABadEndpointIsAnErrorThatNamesIt) {
  if (!check_has_kv_events()) GTEST_SKIP() << "this build has no ZeroMQ";
  metrics::Registry registry;
  const KvEventsConfig any{.endpoint = "tcp://127.0.0.1:*"};
  const auto first = start_kv_event_publisher(any, registry, {});
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_THAT((*first)->endpoint(), testing::MatchesRegex("tcp://127\\.0\\.0\\.1:[0-9]+"));
  EXPECT_EQ((*first)->replay_endpoint(), "");
  const auto taken = start_kv_event_publisher({.endpoint = (*first)->endpoint()}, registry, {});
  ASSERT_FALSE(taken);
  EXPECT_THAT(taken.error().message, HasSubstr("\"endpoint\" " + (*first)->endpoint()));
  EXPECT_THAT(taken.error().message, HasSubstr("in use"));
  const auto replay = start_kv_event_publisher(
      {.endpoint = any.endpoint, .replay_endpoint = (*first)->endpoint()}, registry, {});
  ASSERT_FALSE(replay);
  EXPECT_THAT(replay.error().message, HasSubstr("\"replay_endpoint\" "));
}

}  // namespace
}  // namespace tetrad::kv_events
