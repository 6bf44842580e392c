#include "parallel/neighbours.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>

#include "parallel/ranks_for_tests.h"

namespace tetrad::parallel {
namespace {

TEST(Neighbours, ThreadsOfAProcessAreNone) {
  const auto found = on_all_ranks<Neighbours>(3, [](const std::shared_ptr<Communicator>& ranks) {
    return find_neighbours(*ranks).value();
  });
  for (const Neighbours& neighbours : found) {
    EXPECT_TRUE(neighbours.others.empty());
    EXPECT_EQ(neighbours.num_here, 1);
  }
}

/// Does nothing until it is killed.
pid_t start_process() {
  const pid_t process = ::fork();
  if (process == 0) {
    while (true)
      ::pause();
  }
  return process;
}

TEST(ProcessWatch, TellsOfProcessesThatEnd) {
  const pid_t first = start_process();
  const pid_t second = start_process();
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<int> ended;
  const auto wait_for = [&](size_t count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return ended.size() >= count; });
    return ended;
  };
  {
    const ProcessWatch watch(
        {{.rank = 4, .process = first}, {.rank = 7, .process = second}, {.rank = 9, .process = 0}},
        [&](int rank) {
          const std::lock_guard lock(mutex);
          ended.push_back(rank);
          changed.notify_all();
        });
    ::kill(second, SIGKILL);
    EXPECT_EQ(wait_for(1), std::vector<int>{7});
    ::kill(first, SIGKILL);
    EXPECT_EQ(wait_for(2), (std::vector<int>{7, 4}));
  }
  ::waitpid(first, nullptr, 0);
  ::waitpid(second, nullptr, 0);
  // One that has gone already is nobody to watch.
  const ProcessWatch late({{.rank = 1, .process = first}}, [](int) {});
}

}  // namespace
}  // namespace tetrad::parallel
