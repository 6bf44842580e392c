#pragma once

// The source of quant_kernels_*.cpp, each of which compiles it for its instruction set. The
// namespaces in it and in what it includes are unnamed on purpose: every file has an instance of
// its own.

#include "quant/correction_loops.h"
#include "quant/quant_kernels.h"
#include "quant/search_loops.h"

namespace tetrad {
namespace {  // NOLINT(google-build-namespaces)

constexpr QuantKernels make_quant_kernels(const char* isa) {
  return {.isa = isa,
          .search_amax = &search_amax,
          .search_fast = &search_fast,
          .search_exact = &search_exact,
          .accumulate = &accumulate_tile,
          .round_group = &round_group_of_rows};
}

}  // namespace
}  // namespace tetrad
