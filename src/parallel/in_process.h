#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "parallel/communicator.h"

namespace tetrad::parallel {

/// Of ranks that get on: longer than the longest that one of them computes alone.
inline constexpr std::chrono::milliseconds kDefaultDeadline{30'000};

/// The ends of `size` ranks in this process, rank r at index r, each for a thread of its own. A
/// rank whose end is destroyed has left.
std::vector<std::unique_ptr<Communicator>> make_in_process_ranks(
    int size, std::chrono::milliseconds deadline = kDefaultDeadline);

}  // namespace tetrad::parallel
