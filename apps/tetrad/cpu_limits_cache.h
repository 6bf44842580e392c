#pragma once

// The figures of `tetrad bench limits`, kept for other benchmarks in
// $XDG_CACHE_HOME/tetrad/cpu_limits.json (~/.cache/tetrad/cpu_limits.json).

#include <filesystem>

#include "base/error.h"
#include "base/json.h"
#include "kernels/cpu_limits.h"

namespace tetrad {

json::object cpu_limits_to_json(const CpuLimits& limits);
Result<CpuLimits> cpu_limits_from_json(const json::value& value);

/// not_found where neither XDG_CACHE_HOME nor HOME is an absolute path.
Result<std::filesystem::path> cpu_limits_cache_path();

/// Puts `limits` in the place of what is known of that processor with that number of threads.
/// Returns the file.
Result<std::filesystem::path> store_cpu_limits(const CpuLimits& limits);

/// What was stored for this processor and that number of threads; not_found, which names the
/// command that measures it, where nothing was.
Result<CpuLimits> load_cpu_limits(int threads);

}  // namespace tetrad
