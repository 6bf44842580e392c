#pragma once

// Threads for the kernels: a fixed set of workers, each of which is told its number. The order of
// sums must not depend on timing: parallel_for() splits statically, and who takes work as it comes
// joins the results in an order of their own.

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace tetrad {

class ThreadPool {
 public:
  /// num_threads counts the calling thread; 0 means one for each processor this process may use.
  explicit ThreadPool(int num_threads = 0);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  int num_threads() const { return num_threads_; }

  using Task = std::function<void(int thread)>;
  /// Runs task(0) … task(num_threads - 1), task(0) on the calling thread, and returns when all are
  /// done. One caller at a time; a task must not call run() itself.
  void run(const Task& task);

  /// Splits [0, count) into one contiguous range for each thread, cut at multiples of `grain`, and
  /// calls body(begin, end, thread) for the ranges that are not empty.
  void parallel_for(int64_t count, int64_t grain,
                    const std::function<void(int64_t begin, int64_t end, int thread)>& body);

 private:
  void work(int thread);

  int num_threads_ = 1;
  std::vector<std::thread> workers_;
  struct Shared;
  std::unique_ptr<Shared> shared_;
};

/// Processors this process may run on (its affinity mask), at least 1.
int available_processors();

}  // namespace tetrad
