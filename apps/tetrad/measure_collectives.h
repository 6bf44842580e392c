#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "collectives/device_communicator.h"

namespace tetrad {

struct CollectiveMeasurement {
  std::vector<int64_t> sizes;  // bytes of a message: multiples of 4
  int calls = 0;               // in a row, and in a graph
  int rounds = 0;              // of which the median counts
};

/// Of one size, microseconds a call: the median of the rounds, of the slowest rank.
struct CollectiveTimes {
  int64_t bytes = 0;
  double launched_us = 0;  // call by call
  double graph_us = 0;     // as one recorded graph of all calls
};

struct CollectiveFigures {
  std::string transport;
  std::string reason;  // why it is that one
  std::vector<CollectiveTimes> all_reduce;
};

/// By each rank. Before a size is timed its sums are compared with those of the processor: bit by
/// bit where they are added in the order of the ranks, else of whole numbers. Errors: corrupt_data,
/// with the value that is wrong; those of the communicator.
Result<CollectiveFigures> measure_collectives(gpu::GpuKernels& kernels,
                                              parallel::Communicator& ranks,
                                              const collectives::CommunicatorOptions& options,
                                              const CollectiveMeasurement& what);

}  // namespace tetrad
