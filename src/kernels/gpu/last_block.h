#pragma once

// Who goes on alone with what all blocks of a launch have written.

#include "gpu/fragment.h"

namespace tetrad::gpu {
namespace TETRAD_MACHINE {

/// Whether this block is the last of `count` that come here, and so sees what the others wrote
/// before; *counter is 0 again then. By all threads of the block, which get one answer; `flag`: a
/// word of shared memory.
TETRAD_DEVICE bool is_last_of(uint32_t* counter, uint32_t count, uint32_t* flag) {
  sync_block();
  if (thread_index() == 0) {
    fence_device();
    *flag = atomic_increment(counter) + 1 == count ? 1 : 0;
    if (*flag != 0) *counter = 0;
  }
  sync_block();
  return *flag != 0;
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
