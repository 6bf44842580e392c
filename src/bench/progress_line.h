#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "bench/load_run.h"

namespace tetrad::bench {

/// What the run is measured against: requests, else time.
struct ProgressGoal {
  std::optional<int64_t> num_requests;
  std::optional<Seconds> duration;
};

/// One line without an end, at most `columns` wide: a bar and the counts.
std::string progress_line(const Progress& progress, const ProgressGoal& goal, int columns);

}  // namespace tetrad::bench
