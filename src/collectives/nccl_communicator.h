#pragma once

#include "collectives/device_communicator.h"

namespace tetrad::collectives {

/// By the vendor's library, on the device's stream. It adds in an order of its own, which depends
/// on the message's length, and it waits for a rank that does not come for as long as it takes:
/// `ranks` sees to it that all are there when it begins. Errors, on all ranks alike: those of
/// NcclLibrary::open; io, in NCCL's words.
Result<std::unique_ptr<DeviceCommunicator>> make_nccl_communicator(gpu::Device& device,
                                                                   parallel::Communicator& ranks);

}  // namespace tetrad::collectives
