#pragma once

#include "bench_model_flags.h"

namespace tetrad {

/// tetrad bench model --device gpu, or emulated
int run_bench_model_gpu(const BenchModelFlags& flags);

}  // namespace tetrad
