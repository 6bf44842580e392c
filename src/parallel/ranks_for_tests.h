#pragma once

// For tests only: ranks that are threads.

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "parallel/in_process.h"

namespace tetrad::parallel {

/// What each rank's thread returns, in the order of the ranks. A rank's end goes when it returns.
template <class T>
std::vector<T> on_all_ranks(int size,
                            const std::function<T(const std::shared_ptr<Communicator>&)>& run) {
  auto ends = make_in_process_ranks(size);
  std::vector<T> results(ends.size());
  std::vector<std::thread> threads;
  threads.reserve(ends.size());
  for (size_t rank = 0; rank < ends.size(); ++rank) {
    threads.emplace_back([&, rank] {
      const std::shared_ptr<Communicator> end = std::move(ends[rank]);
      results[rank] = run(end);
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  return results;
}

}  // namespace tetrad::parallel
