#pragma once

// How this process was started: alone, by mpirun with others, or in a pod of a group.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/error.h"

namespace tetrad {

/// Looks a variable of the environment up; null where it is not set.
using Environment = std::function<const char*(const char* name)>;
const char* variable_of_process(const char* name);

/// This process among those that were started together.
struct ProcessWorld {
  int64_t size = 1;
  int64_t rank = 0;
};

/// What Open MPI's or another PMI starter says; none where nobody says anything, or that there is
/// one process. Errors: numbers that are none, or that do not fit.
Result<std::optional<ProcessWorld>> mpi_world(const Environment& environment);

/// A pod of a Kubernetes LeaderWorkerSet: LWS_GROUP_SIZE, LWS_WORKER_INDEX, LWS_LEADER_ADDRESS.
struct PodGroup {
  int64_t size = 1;
  int64_t index = 0;
  std::string leader;  // host name; "" where it is not said

  /// The group's pods as mpirun --host takes them: a worker is called as the leader is, with its
  /// index behind the first part of the name.
  std::string hosts() const;
};

/// None outside of such a group, and in a group of one. Errors as mpi_world().
Result<std::optional<PodGroup>> pod_group(const Environment& environment);

/// Whether `ranks` ranks can be had in this process: as threads where it was started alone, as
/// processes where mpirun started as many. Errors: --tensor-parallel-size, with what to do.
Result<void> check_world(int64_t ranks, const std::optional<ProcessWorld>& world,
                         const std::optional<PodGroup>& pods, bool has_mpi);

}  // namespace tetrad
