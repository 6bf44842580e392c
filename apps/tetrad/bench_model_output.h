#pragma once

// What `tetrad bench model` prints: a line as soon as it is measured, or JSON of all.

#include <string_view>

#include "base/json.h"
#include "bench_model_run.h"

namespace tetrad {

/// What one part of the benchmark measures.
struct BenchModelPart {
  std::string_view name;      // of --only, and in JSON
  std::string_view size_key;  // in JSON
  std::string_view title;
};

inline constexpr BenchModelPart kDecodePart = {"decode", "context",
                                               "decode, one sequence: context"};
inline constexpr BenchModelPart kBatchedPart = {"batched", "batch", "decode: sequences"};
inline constexpr BenchModelPart kPrefillPart = {"prefill", "prompt", "prefill: tokens"};

void print_bench_model_header(const ModelBench& bench, int repetitions);
void print_bench_model_part(const BenchModelPart& part);
void print_model_figures(const ModelFigures& figures);
/// Where the time went, a line an operation.
void print_operation_shares(const ModelFigures& figures);

json::object bench_model_to_json(const ModelBench& bench);
json::object model_figures_to_json(const BenchModelPart& part, const ModelFigures& figures);

}  // namespace tetrad
