#pragma once

#include "collectives/device_communicator.h"
#include "collectives/rank_memory.h"

namespace tetrad::collectives {

/// By kernels of ours that read and write each other's memory (rank_exchange.h). `transport`: peer
/// or host. The sum of a group of one rank is what it is.
Result<std::unique_ptr<DeviceCommunicator>> make_exchange_communicator(
    gpu::GpuKernels& kernels, parallel::Communicator& ranks, Transport transport,
    const CommunicatorOptions& options);

/// Bytes up to which one shot is faster than two. Measured on no machine yet: of two ranks both
/// send the same, of more two send less; on gfx12, without links between the cards, early.
int64_t default_one_shot_bytes(int num_ranks, bool is_gfx12);
/// Bytes up to which CommunicatorOptions::few_bytes holds: each value is sent as eight bytes to
/// each of the others.
/// Measured between two H200, and not over host memory.
int64_t default_few_bytes(int num_ranks, bool is_gfx12);

}  // namespace tetrad::collectives
