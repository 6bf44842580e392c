#pragma once

#include <chrono>
#include <memory>

#include "parallel/communicator.h"
#include "parallel/in_process.h"

namespace tetrad::parallel {

/// Whether this program was built with MPI (-DTETRAD_MPI=ON).
bool has_mpi();

/// This process's end of the ranks that mpirun started; once in a process. The calls come from one
/// thread, which need not be this one. MPI ends with it; a rank whose end is destroyed has left.
/// Errors: unsupported without MPI, io where MPI does not start.
Result<std::unique_ptr<Communicator>> join_mpi_ranks(
    std::chrono::milliseconds deadline = kDefaultDeadline);

}  // namespace tetrad::parallel
