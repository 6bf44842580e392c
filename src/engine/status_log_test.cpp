#include "engine/status_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace tetrad {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

class SetClock final : public Clock {
 public:
  Seconds now() const override { return time; }
  Seconds time{1000};
};

class StatusLogTest : public testing::Test {
 protected:
  /// A step that ends `seconds` after the last one, and took that long.
  void step(double seconds, StepReport report) {
    clock_.time += Seconds(seconds);
    report.duration = Seconds(seconds);
    log_.on_step(report);
  }
  void idle(double seconds) { clock_.time += Seconds(seconds); }

  SetClock clock_;
  std::vector<std::string> lines_;
  StatusLog log_{clock_, [this](const std::string& line) { lines_.push_back(line); }};
};

TEST_F(StatusLogTest, SaysWhatTheLastSecondsBrought) {
  StepReport report{.num_running = 3,
                    .num_waiting = 1,
                    .num_kv_blocks = 80,
                    .num_free_kv_blocks = 50,
                    .num_prompt_tokens = 1000,
                    .num_generated_tokens = 3,
                    .num_preemptions = 1,
                    .prefix_cache_queries = 400,
                    .prefix_cache_hits = 300};
  for (int i = 0; i < 10; ++i) {
    EXPECT_THAT(lines_, IsEmpty());
    log_.on_draft(4, 1);
    step(1, report);
  }
  EXPECT_THAT(lines_,
              ElementsAre("running 3, waiting 1, generation 3.0 tok/s, prefill 1000.0 tok/s, KV "
                          "cache 37.5 % used, prefix hits 75.0 %, drafts right 25.0 %, "
                          "preemptions 10"));
}

TEST_F(StatusLogTest, LeavesOutWhatDidNotHappen) {
  step(10, {.num_running = 1, .num_generated_tokens = 1});
  EXPECT_THAT(lines_, ElementsAre("running 1, waiting 0, generation 0.1 tok/s, prefill 0.0 tok/s, "
                                  "KV cache 0.0 % used"));
}

TEST_F(StatusLogTest, ALineEveryTenSecondsOfWork) {
  for (int i = 0; i < 3500; ++i)
    step(0.01, {.num_running = 1, .num_generated_tokens = 1});
  EXPECT_THAT(lines_, SizeIs(3));
  EXPECT_THAT(lines_.back(), HasSubstr("generation 100.0 tok/s"));
}

TEST_F(StatusLogTest, AShortBurstHasItsLineAtItsEnd) {
  step(1, {.num_running = 1, .num_generated_tokens = 8});
  EXPECT_THAT(lines_, IsEmpty());
  step(1, {.num_running = 0, .num_generated_tokens = 8});
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("running 0, waiting 0, generation 8.0 tok/s")));
}

TEST_F(StatusLogTest, ManyShortBurstsShareLines) {
  for (int i = 0; i < 100; ++i) {
    step(0.1, {.num_running = 0, .num_generated_tokens = 1});
    idle(0.9);
  }
  EXPECT_THAT(lines_, SizeIs(10));
}

TEST_F(StatusLogTest, RatesLeaveOutIdleTime) {
  step(1, {.num_running = 0, .num_generated_tokens = 5});  // has its line
  step(1, {.num_running = 0, .num_generated_tokens = 5});  // waits for the next
  idle(3600);
  step(1, {.num_running = 1, .num_generated_tokens = 5});
  EXPECT_THAT(lines_, SizeIs(2));
  EXPECT_THAT(lines_.back(), HasSubstr("generation 5.0 tok/s"));
  EXPECT_THAT(lines_.back(), Not(HasSubstr("prefix")));
}

}  // namespace
}  // namespace tetrad
