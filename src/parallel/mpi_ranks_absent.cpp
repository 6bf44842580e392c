// In a build without MPI.

#include "parallel/mpi_ranks.h"

namespace tetrad::parallel {

bool has_mpi() {
  return false;
}

Result<std::unique_ptr<Communicator>> join_mpi_ranks(std::chrono::milliseconds /*deadline*/) {
  return fail(ErrorCode::unsupported,
              "this tetrad was built without MPI; build it with -DTETRAD_MPI=ON");
}

}  // namespace tetrad::parallel
