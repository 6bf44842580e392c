#include "parallel/forked_ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <exception>
#include <functional>
#include <string>
#include <thread>

#include "parallel/communicator_checks_for_tests.h"

namespace tetrad::parallel {
namespace {

using std::chrono::milliseconds;

/// Runs body(rank's end) in a process for each rank; what went wrong in it stands on stderr.
void in_processes(int size, milliseconds deadline, const std::function<void(Communicator&)>& body) {
  auto ranks = ForkedRanks::create(size).value();
  std::vector<pid_t> children;
  for (int rank = 0; rank < size; ++rank) {
    const pid_t child = fork();
    if (child == 0) {
      int status = 0;
      try {
        const auto mine = std::move(ranks).join(rank, deadline);
        if (mine->rank() != rank || mine->size() != size) throw std::logic_error("who am I?");
        body(*mine);
      } catch (const std::exception& error) {
        fmt::print(stderr, "rank {}: {}\n", rank, error.what());
        status = 1;
      }
      _exit(status);
    }
    children.push_back(child);
  }
  {
    const ForkedRanks closed = std::move(ranks);
  }
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
}

void expect_error(const Result<void>& result, std::string_view message) {
  if (result) throw std::logic_error("no error");
  if (result.error().message != message) throw std::logic_error(result.error().message);
}

TEST(ForkedRanks, SumGatherAndTell) {
  for (const int size : {1, 2, 3, 8})
    in_processes(size, milliseconds(60'000), [](Communicator& ranks) {
      check_collectives(ranks, 60);
      // Longer than what a socket holds.
      std::vector<float> values(1'000'003, static_cast<float>(ranks.rank() + 1));
      expect_ok(ranks.all_reduce_sum(values), "sum");
      const int sum = ranks.size() * (ranks.size() + 1) / 2;
      expect_equal(values, std::vector<float>(values.size(), static_cast<float>(sum)), "sum");
    });
}

TEST(ForkedRanks, WhoLeavesIsNoticedAtOnce) {
  for (const int leaver : {0, 2}) {
    in_processes(4, milliseconds(600'000), [&](Communicator& ranks) {
      expect_ok(ranks.barrier(), "barrier");
      if (ranks.rank() == leaver) return;
      std::vector<float> values(100);
      const std::string left = fmt::format("rank {} of 4 has left", leaver);
      expect_error(ranks.all_reduce_sum(values), left);
      expect_error(ranks.barrier(), left);
    });
  }
}

TEST(ForkedRanks, WhoDoesNotComeIsNamed) {
  for (const int absent : {0, 1}) {
    in_processes(3, milliseconds(200), [&](Communicator& ranks) {
      expect_ok(ranks.barrier(), "barrier");
      if (ranks.rank() == absent) {
        std::this_thread::sleep_for(milliseconds(1500));
        return;
      }
      std::vector<float> values(100);
      expect_error(
          ranks.all_reduce_sum(values),
          fmt::format("rank {} of 3 did not come to a sum of 100 values within 200 ms", absent));
    });
  }
}

TEST(ForkedRanks, OtherCallsAreNoticed) {
  in_processes(2, milliseconds(600'000), [](Communicator& ranks) {
    std::vector<float> values(ranks.rank() == 0 ? 5 : 6);
    expect_error(ranks.all_reduce_sum(values),
                 "rank 1 comes to a sum of 6 values, and rank 0 to a sum of 5 values");
  });
}

TEST(ForkedRanks, WhoGivesUpEndsTheCallThatWaits) {
  in_processes(2, milliseconds(600'000), [](Communicator& ranks) {
    if (ranks.rank() == 1) {
      std::this_thread::sleep_for(milliseconds(300));
      expect_error(ranks.barrier(), "rank 0 of 2 has left");
      return;
    }
    std::thread other([&] {
      std::this_thread::sleep_for(milliseconds(50));
      ranks.give_up("the cable is cut");
    });
    expect_error(ranks.barrier(), "the cable is cut");
    other.join();
    expect_error(ranks.barrier(), "the cable is cut");
  });
}

}  // namespace
}  // namespace tetrad::parallel
