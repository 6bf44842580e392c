#pragma once

#include <cstdint>

namespace tetrad {

/// Bytes that can be had without swapping; 0 where the system does not say.
int64_t free_memory();

}  // namespace tetrad
