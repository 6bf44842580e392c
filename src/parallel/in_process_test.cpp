#include "parallel/in_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <exception>
#include <functional>
#include <thread>

#include "parallel/communicator_checks_for_tests.h"

namespace tetrad::parallel {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr milliseconds kShortDeadline{100};
/// Never reached: who gets an error before has not waited for it.
constexpr milliseconds kNoDeadline{600'000};

/// Runs body(rank's end) on a thread for each rank. A rank whose body returns leaves.
void on_ranks(int size, milliseconds deadline, const std::function<void(Communicator&)>& body) {
  std::vector<std::unique_ptr<Communicator>> ranks = make_in_process_ranks(size, deadline);
  std::vector<std::string> failures(ranks.size());
  std::vector<std::thread> threads;
  threads.reserve(ranks.size());
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    threads.emplace_back([&, rank] {
      const std::unique_ptr<Communicator> mine = std::move(ranks[rank]);
      try {
        body(*mine);
      } catch (const std::exception& error) {
        failures[rank] = error.what();
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  for (const std::string& failure : failures)
    EXPECT_EQ(failure, "");
}

TEST(InProcessRanks, SumGatherAndTell) {
  for (const int size : {1, 2, 3, 8}) {
    on_ranks(size, kNoDeadline, [&](Communicator& ranks) {
      if (ranks.size() != size) throw std::logic_error("wrong size");
      check_collectives(ranks, 200);
    });
  }
}

TEST(InProcessRanks, AddInTheirOrder) {
  // From the left 1e8 + 1 is 1e8 and nothing is left; in any other order 1 would be.
  constexpr std::array kParts = {1e8f, 1.0f, -1e8f};
  on_ranks(3, kNoDeadline, [&](Communicator& ranks) {
    std::vector<float> value = {kParts[static_cast<size_t>(ranks.rank())]};
    // Whoever comes first.
    std::this_thread::sleep_for(milliseconds(20 * (2 - ranks.rank())));
    expect_ok(ranks.all_reduce_sum(value), "sum");
    expect_equal(value, {0.0f}, "sum");
  });
}

TEST(InProcessRanks, WhoLeavesIsNoticedAtOnce) {
  on_ranks(4, kNoDeadline, [](Communicator& ranks) {
    expect_ok(ranks.barrier(), "barrier");
    if (ranks.rank() == 2) return;
    std::vector<float> values(100);
    const auto summed = ranks.all_reduce_sum(values);
    ASSERT_FALSE(summed);
    EXPECT_EQ(summed.error().code, ErrorCode::io);
    EXPECT_THAT(summed.error().message, HasSubstr("rank 2 of 4 has left"));
    // And it stays so.
    const auto again = ranks.barrier();
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().message, summed.error().message);
  });
}

TEST(InProcessRanks, WhatAllCameToIsDoneThoughOneLeaves) {
  for (int i = 0; i < 200; ++i) {
    on_ranks(3, kNoDeadline, [](Communicator& ranks) {
      std::vector<float> value = {1.0f};
      expect_ok(ranks.all_reduce_sum(value), "sum");
      expect_equal(value, {3.0f}, "sum");
    });
  }
}

TEST(InProcessRanks, WhoDoesNotComeIsNamedAfterTheDeadline) {
  std::vector<std::unique_ptr<Communicator>> ranks = make_in_process_ranks(3, kShortDeadline);
  std::string message;
  std::thread other([&] { message = ranks[0]->barrier().error().message; });
  std::vector<float> values(6);
  const auto summed = all_gather_values<float>(*ranks[1], std::span(values).first(2), values);
  other.join();
  ASSERT_FALSE(summed);
  EXPECT_EQ(summed.error().code, ErrorCode::io);
  EXPECT_THAT(summed.error().message, HasSubstr("rank 2 of 3 did not come to"));
  EXPECT_THAT(summed.error().message, HasSubstr("within 100 ms"));
  EXPECT_EQ(message, summed.error().message);
  // Who comes too late does not wait.
  EXPECT_EQ(ranks[2]->barrier().error().message, message);
}

TEST(InProcessRanks, OtherCallsThanTheOthersAreErrors) {
  on_ranks(2, kNoDeadline, [](Communicator& ranks) {
    std::vector<float> values(ranks.rank() == 0 ? 3 : 4);
    const auto summed = ranks.all_reduce_sum(values);
    ASSERT_FALSE(summed);
    EXPECT_EQ(summed.error().code, ErrorCode::internal);
    EXPECT_EQ(summed.error().message,
              "rank 1 comes to a sum of 4 values, and rank 0 to a sum of 3 values");
    EXPECT_FALSE(ranks.barrier());
  });
  on_ranks(2, kNoDeadline, [](Communicator& ranks) {
    std::array<std::byte, 4> bytes{};
    const auto told = ranks.rank() == 0 ? ranks.broadcast(bytes, 0) : ranks.broadcast(bytes, 1);
    ASSERT_FALSE(told);
    EXPECT_EQ(told.error().message,
              "rank 1 comes to a broadcast of 4 bytes from rank 1, and rank 0 to a broadcast of 4 "
              "bytes from rank 0");
  });
}

TEST(InProcessRanks, TellOnceThatCallsFail) {
  std::vector<std::unique_ptr<Communicator>> ranks = make_in_process_ranks(3, kNoDeadline);
  std::array<int, 3> told{};
  for (size_t rank = 0; rank < ranks.size(); ++rank)
    ranks[rank]->when_broken([&told, rank] { ++told[rank]; });
  ranks[1]->when_broken(nullptr);
  ranks[2]->leave();
  EXPECT_THAT(told, testing::ElementsAre(1, 0, 1));
  EXPECT_THAT(ranks[0]->barrier().error().message, HasSubstr("rank 2 of 3 has left"));
  ranks[0]->give_up("again");
  // Who asks late is told at once.
  ranks[1]->when_broken([&told] { ++told[1]; });
  EXPECT_THAT(told, testing::ElementsAre(1, 1, 1));
}

TEST(InProcessRanks, PartTogetherWhateverWentWrong) {
  std::atomic<int> num_waiting = 0;
  on_ranks(3, kNoDeadline, [&](Communicator& ranks) {
    ranks.give_up("the cable is cut");
    if (ranks.rank() == 2) return;  // who has ended uses nothing any more
    for (int time = 1; time <= 2; ++time) {
      ++num_waiting;
      EXPECT_TRUE(ranks.wait_for_parting());
      EXPECT_GE(num_waiting, 2 * time);
    }
  });
}

TEST(InProcessRanks, SayWhoMayStillUseWhatTheyShare) {
  std::vector<std::unique_ptr<Communicator>> ranks = make_in_process_ranks(2, kShortDeadline);
  EXPECT_FALSE(ranks[0]->wait_for_parting());
  ranks[1] = nullptr;
  EXPECT_TRUE(ranks[0]->wait_for_parting());
}

TEST(InProcessRanks, RefuseWhatMakesNoSense) {
  const auto ranks = make_in_process_ranks(1);
  std::array<std::byte, 4> bytes{};
  EXPECT_EQ(ranks[0]->broadcast(bytes, 1).error().code, ErrorCode::internal);
  EXPECT_EQ(ranks[0]->all_gather(std::span(bytes).first(2), bytes).error().code,
            ErrorCode::internal);
  EXPECT_TRUE(ranks[0]->barrier());
}

}  // namespace
}  // namespace tetrad::parallel
