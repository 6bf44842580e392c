#include "engine/event_batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tetrad {
namespace {

using testing::ElementsAre;

class EventKeeper final : public EventSink {
 public:
  void on_event(GenerationEvent event) override { events.push_back(std::move(event)); }

  std::vector<GenerationEvent> events;
};

TEST(EventBatcher, PassesTheFirstOnAndThenEveryFewTokens) {
  const auto keeper = std::make_shared<EventKeeper>();
  EventBatcher batcher(keeper, 3);
  batcher.on_event({.token_ids = {1}, .text = "a", .num_cached_tokens = 7});
  ASSERT_EQ(keeper->events.size(), 1u);
  EXPECT_EQ(keeper->events[0].num_cached_tokens, 7);
  batcher.on_event({.token_ids = {2}, .text = "bc", .logprobs = {{.token = {.id = 2}}}});
  batcher.on_event({.token_ids = {3}, .text = ""});  // half a character
  EXPECT_EQ(keeper->events.size(), 1u);
  batcher.on_event({.token_ids = {4, 5},  // with an accepted draft
                    .text = "<t>",
                    .tags = {{.begin = 0, .end = 3}},
                    .logprobs = {{.token = {.id = 4}}, {.token = {.id = 5}}}});
  ASSERT_EQ(keeper->events.size(), 2u);
  const GenerationEvent& joined = keeper->events[1];
  EXPECT_THAT(joined.token_ids, ElementsAre(2, 3, 4, 5));
  EXPECT_EQ(joined.text, "bc<t>");
  EXPECT_THAT(joined.tags, ElementsAre(TextSpan{.begin = 2, .end = 5}));
  EXPECT_EQ(joined.logprobs.size(), 3u);
  EXPECT_FALSE(joined.finish_reason);
}

TEST(EventBatcher, TheEndTakesWhatIsHeldWithIt) {
  const auto keeper = std::make_shared<EventKeeper>();
  EventBatcher batcher(keeper, 10);
  batcher.on_event({.token_ids = {1}, .text = "a"});
  batcher.on_event({.token_ids = {2}, .text = "b"});
  batcher.on_event({.token_ids = {3},
                    .text = "c",
                    .finish_reason = FinishReason::stop,
                    .stop_reason = "the stop"});
  ASSERT_EQ(keeper->events.size(), 2u);
  EXPECT_THAT(keeper->events[1].token_ids, ElementsAre(2, 3));
  EXPECT_EQ(keeper->events[1].text, "bc");
  EXPECT_EQ(keeper->events[1].finish_reason, FinishReason::stop);
  EXPECT_EQ(keeper->events[1].stop_reason, "the stop");
}

TEST(EventBatcher, AnErrorAtOnceIsPassedOn) {
  const auto keeper = std::make_shared<EventKeeper>();
  EventBatcher batcher(keeper, 10);
  batcher.on_event({.finish_reason = FinishReason::error, .error = Error{.message = "broken"}});
  ASSERT_EQ(keeper->events.size(), 1u);
  EXPECT_EQ(keeper->events[0].error->message, "broken");
}

}  // namespace
}  // namespace tetrad
