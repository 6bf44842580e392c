#pragma once

#include <sched.h>

#include <vector>

namespace tetrad {

/// Part of the processors that this process may use.
struct ProcessorShare {
  int num_threads = 1;
  std::vector<int> processors;  // to stay on; none: wherever there is room
};

/// What rank `index` of the `num_ranks` that share this process's processors gets: neighbouring
/// ones, as many for each as there are; with more ranks than processors all of them for each.
/// num_threads: of all ranks together, or 0: one for each processor. Who says it decides on no
/// places.
ProcessorShare share_of_processors(int num_threads, int num_ranks, int index);

/// As long as one lives, the thread that made it stays on these processors, and for good those
/// threads that it starts meanwhile.
class PinnedThread {
 public:
  explicit PinnedThread(const std::vector<int>& processors);
  ~PinnedThread();
  PinnedThread(const PinnedThread&) = delete;
  PinnedThread& operator=(const PinnedThread&) = delete;

 private:
  cpu_set_t before_{};
  bool is_pinned_ = false;
};

}  // namespace tetrad
