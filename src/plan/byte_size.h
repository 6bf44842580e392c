#pragma once

#include <cstdint>
#include <string_view>

#include "base/error.h"

namespace tetrad::plan {

/// Larger sizes are refused, so that sums of a few of them cannot overflow.
inline constexpr int64_t kMaxByteSize = int64_t{1} << 60;

/// "32GiB", "32GB", "11.35GiB", "512MiB", "1000B" in bytes, rounded down. GiB, MiB, KiB and TiB are
/// powers of 1024; GB, MB, kB (or KB) and TB powers of 1000; the unit must be there. The decimal
/// fraction is exact: "11.35GiB" is 12,186,969,702 bytes. The error says what is wrong, not where.
Result<int64_t> parse_byte_size(std::string_view text);

struct GpuSet {
  int64_t count = 1;
  int64_t bytes_each = 0;
};

/// "8x32GiB", or "32GiB" for one.
Result<GpuSet> parse_gpu_set(std::string_view text);

}  // namespace tetrad::plan
