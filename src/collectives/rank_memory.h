#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/error.h"
#include "gpu/device.h"
#include "parallel/communicator.h"

namespace tetrad::collectives {

/// What each rank shares, by its address on this rank's device: zeros in the beginning. All ranks
/// make it, and let go of it, together.
class RankMemory {
 public:
  virtual ~RankMemory() = default;

  /// [ranks]
  const std::vector<gpu::DeviceAddress>& addresses() const { return addresses_; }

 protected:
  std::vector<gpu::DeviceAddress> addresses_;
};

/// Each rank's in its GPU's memory, which the others reach over NVLink or PCIe, or because it is
/// the same GPU. Errors, on all ranks alike: unsupported, naming two GPUs and what is between them.
Result<std::unique_ptr<RankMemory>> share_device_memory(gpu::Device& device,
                                                        parallel::Communicator& ranks,
                                                        int64_t bytes);

/// Each rank's in host memory, which all GPUs of the machine reach over PCIe. Errors, on all ranks
/// alike: unsupported, where ranks are on several machines; io.
Result<std::unique_ptr<RankMemory>> share_host_memory(gpu::Device& device,
                                                      parallel::Communicator& ranks, int64_t bytes);

}  // namespace tetrad::collectives
