#pragma once

// What a rank calls, so that ranks that have fallen out of step notice.

#include <fmt/core.h>

#include <cstdint>
#include <span>
#include <string>

#include "base/error.h"

namespace tetrad::parallel {

enum class CallKind : uint64_t { all_reduce, all_gather, broadcast, barrier, leave };

struct Call {
  CallKind kind = CallKind::barrier;
  uint64_t bytes = 0;  // that this rank brings or takes
  uint64_t root = 0;   // of a broadcast

  bool operator==(const Call&) const = default;
};

std::string describe(const Call& call);

/// One call for each rank. An error where one is not as rank 0's.
Result<void> check_same_calls(std::span<const Call> calls);

}  // namespace tetrad::parallel
