#include "http/outbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tetrad::http {
namespace {

using Bounded = Outbox::Bounded;
using State = Outbox::State;

struct Fixture {
  int wakes = 0;
  int disconnects = 0;
  std::vector<bool> pauses;
  Outbox outbox{{.pause_bytes = 4, .max_bytes = 10}, [this] { ++wakes; }};

  void watch() {
    outbox.on_disconnect([this] { ++disconnects; });
  }
  void watch_backlog() {
    outbox.on_backlog([this](bool paused) { pauses.push_back(paused); });
  }
};

TEST(Outbox, HandsOverInOrderAndTellsTheEnd) {
  Fixture f;
  f.outbox.push("ab", Bounded::yes);
  f.outbox.push("cd", Bounded::yes);
  EXPECT_EQ(f.wakes, 1);
  Outbox::Batch batch = f.outbox.take();
  EXPECT_EQ(batch.bytes, "abcd");
  EXPECT_EQ(batch.state, State::open);
  f.outbox.push("e", Bounded::yes);
  EXPECT_EQ(f.wakes, 2);
  f.outbox.finish(true);
  batch = f.outbox.take();
  EXPECT_EQ(batch.bytes, "e");
  EXPECT_EQ(batch.state, State::finished);
  f.outbox.push("too late", Bounded::yes);
  EXPECT_EQ(f.outbox.take().bytes, "");
}

TEST(Outbox, GivesUpAClientThatDoesNotRead) {
  Fixture f;
  f.watch();
  f.outbox.push("0123456789", Bounded::yes);
  EXPECT_EQ(f.disconnects, 0);
  f.outbox.push("x", Bounded::yes);
  EXPECT_EQ(f.disconnects, 1);
  EXPECT_EQ(f.outbox.take().state, State::broken);
  f.outbox.close();
  EXPECT_EQ(f.disconnects, 1);
}

TEST(Outbox, WrittenBytesNoLongerCount) {
  Fixture f;
  for (int i = 0; i < 5; ++i) {
    f.outbox.push("0123456789", Bounded::yes);
    EXPECT_EQ(f.outbox.take().bytes.size(), 10u);
    EXPECT_EQ(f.outbox.take().bytes, "");  // who comes again has written them
  }
  EXPECT_EQ(f.outbox.take().state, State::open);
}

TEST(Outbox, BytesBeingWrittenCount) {
  Fixture f;
  f.watch();
  f.outbox.push("01234567", Bounded::yes);
  f.outbox.take();
  f.outbox.push("89", Bounded::yes);
  EXPECT_EQ(f.disconnects, 0);
  f.outbox.push("x", Bounded::yes);
  EXPECT_EQ(f.disconnects, 1);
}

TEST(Outbox, PausesTheProducerUntilMostIsWritten) {
  Fixture f;
  f.watch_backlog();
  f.outbox.push("0123", Bounded::yes);
  EXPECT_THAT(f.pauses, testing::ElementsAre());
  f.outbox.push("4", Bounded::yes);
  f.outbox.push("5", Bounded::yes);
  EXPECT_THAT(f.pauses, testing::ElementsAre(true));
  f.outbox.take();
  EXPECT_TRUE(f.outbox.paused_since());  // these bytes are still to be written
  f.outbox.push("678", Bounded::yes);    // what was under way
  f.outbox.take();
  EXPECT_TRUE(f.outbox.paused_since());
  f.outbox.push("9a", Bounded::yes);
  f.outbox.take();
  EXPECT_FALSE(f.outbox.paused_since());
  EXPECT_THAT(f.pauses, testing::ElementsAre(true, false));
}

TEST(Outbox, ALateListenerHearsOfAPause) {
  Fixture f;
  f.outbox.push("012345", Bounded::yes);
  f.watch_backlog();
  EXPECT_THAT(f.pauses, testing::ElementsAre(true));
}

TEST(Outbox, NobodyIsPausedByAWholeResponseOrAfterTheEnd) {
  Fixture f;
  f.watch_backlog();
  f.outbox.push(std::string(100, 'x'), Bounded::no);
  EXPECT_THAT(f.pauses, testing::ElementsAre());
  f.outbox.finish(true);
  f.outbox.take();
  f.outbox.close();
  EXPECT_THAT(f.pauses, testing::ElementsAre());
}

TEST(Outbox, WholeResponsesMayBeLargerThanTheBacklog) {
  Fixture f;
  f.outbox.push(std::string(1000, 'x'), Bounded::no);
  EXPECT_EQ(f.outbox.take().bytes.size(), 1000u);
}

TEST(Outbox, ClosingTellsTheProducerOnceAndSilencesIt) {
  Fixture f;
  f.watch();
  f.outbox.close();
  EXPECT_EQ(f.disconnects, 1);
  f.outbox.push("x", Bounded::yes);
  f.outbox.finish(true);
  EXPECT_EQ(f.wakes, 0);  // the connection may be gone: nobody to wake
  EXPECT_EQ(f.outbox.take().bytes, "");
}

TEST(Outbox, ALateCallbackIsCalledAtOnce) {
  Fixture f;
  f.outbox.close();
  f.watch();
  EXPECT_EQ(f.disconnects, 1);
}

TEST(Outbox, NobodyIsToldAfterACompleteResponse) {
  Fixture f;
  f.watch();
  f.outbox.finish(true);
  f.outbox.close();
  f.watch();
  EXPECT_EQ(f.disconnects, 0);
}

TEST(Outbox, CancellingLetsTheLastWordsThrough) {
  Fixture f;
  f.watch();
  f.outbox.cancel();
  EXPECT_EQ(f.disconnects, 1);
  f.outbox.push("bye", Bounded::yes);
  f.outbox.finish(true);
  const Outbox::Batch batch = f.outbox.take();
  EXPECT_EQ(batch.bytes, "bye");
  EXPECT_EQ(batch.state, State::finished);
}

}  // namespace
}  // namespace tetrad::http
