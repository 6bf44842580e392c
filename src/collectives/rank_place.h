#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/error.h"
#include "gpu/device.h"
#include "parallel/communicator.h"

namespace tetrad::collectives {

/// Where a rank computes; copied as bytes.
struct RankPlace {
  std::array<char, 64> machine{};            // different from any other's
  std::array<char, 64> process_namespace{};  // within which process ids differ
  int64_t process = 0;
  int32_t device = 0;               // its driver's number, within the process
  std::array<char, 96> gpu_name{};  // "NVIDIA H200 (0000:1B:00.0)"

  bool is_same_process(const RankPlace& other) const {
    return machine == other.machine && process_namespace == other.process_namespace &&
           process == other.process;
  }
};

/// Of each rank. Errors: unsupported, on all ranks, where they are on several machines.
Result<std::vector<RankPlace>> places_on_one_machine(gpu::Device& device,
                                                     parallel::Communicator& ranks);

}  // namespace tetrad::collectives
