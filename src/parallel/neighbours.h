#pragma once

// Ranks that are processes of one machine: how many share it, and who of them has ended. A process
// that ends on the same machine is noticed at once, long before a deadline.

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "parallel/communicator.h"

namespace tetrad::parallel {

struct Neighbour {
  int rank = 0;
  pid_t process = 0;  // 0: on this machine, but where its number means nothing (a container)
};

struct Neighbours {
  std::vector<Neighbour> others;  // on this machine
  int num_here = 1;               // with this rank
  int index_here = 0;             // of this rank, in the order of the ranks
  // Of these the ones that may use the same processors: mpirun may have bound each to its own.
  int num_sharing = 1;
  int index_sharing = 0;
};

/// Made by all ranks at once. Ranks that are threads have no neighbours.
Result<Neighbours> find_neighbours(Communicator& ranks);

/// Watches processes of this machine until it goes.
class ProcessWatch {
 public:
  /// on_end: called once for each that ends, with its rank, on a thread of the watch's.
  ProcessWatch(const std::vector<Neighbour>& watched, std::function<void(int rank)> on_end);
  ~ProcessWatch();
  ProcessWatch(const ProcessWatch&) = delete;
  ProcessWatch& operator=(const ProcessWatch&) = delete;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tetrad::parallel
