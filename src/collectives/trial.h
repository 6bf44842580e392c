#pragma once

#include "collectives/device_communicator.h"

namespace tetrad::collectives {

/// Sums and a gathering whose results are known, of sizes that take every way through the kernels.
/// Errors: unsupported, with the first value that is wrong; what wait() says. On all ranks alike.
Result<void> try_out(DeviceCommunicator& communicator, gpu::Device& device,
                     parallel::Communicator& ranks);

}  // namespace tetrad::collectives
