#pragma once

#include "collectives/device_communicator.h"

namespace tetrad::collectives {

/// By the vendor's library, on the device's stream. It adds in an order of its own, which depends
/// on the message's length, and a message that does not end within the deadline, give or take an
/// eighth, is ended: the library itself would wait for a rank for ever. `ranks` sees to it that all
/// are there when it begins. Errors, on all ranks alike: those of
/// NcclLibrary::open; io, in NCCL's words.
Result<std::unique_ptr<DeviceCommunicator>> make_nccl_communicator(
    gpu::Device& device, parallel::Communicator& ranks, std::chrono::milliseconds deadline);

}  // namespace tetrad::collectives
