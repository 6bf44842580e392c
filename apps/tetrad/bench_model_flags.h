#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "model/synthetic_model.h"
#include "rank_flags.h"

namespace tetrad {

struct BenchModelFlags {
  std::string shape = "layers=4,experts=256,vocab=200064";
  std::vector<int64_t> contexts = {0, 4096, 32768};
  std::vector<int64_t> prompts = {512, 2048, 8192};
  std::vector<int64_t> batches = {1, 2, 4, 8, 16};
  int64_t max_num_batched_tokens = 2048;
  int repetitions = 5;
  std::vector<std::string> only;  // parts; none: all
  std::string kernels = "auto";
  int threads = 0;
  std::string device = "cpu";
  std::string gpu_tuning;       // a file
  int64_t batch_context = 512;  // of a GPU's batches
  RankFlags ranks;
  bool profile = false;
  bool json = false;

  bool wants(std::string_view part) const;
};

void add_bench_model_flags(CLI::App& verb, BenchModelFlags& flags);

/// "layers=4,experts=256" over MiniMax-M2.7's sizes. Errors name --shape.
Result<SyntheticShape> parse_synthetic_shape(std::string_view text);

}  // namespace tetrad
