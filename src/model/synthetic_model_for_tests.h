#pragma once

// A tiny synthetic model and some tokens for it.

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "model/synthetic_model.h"

namespace tetrad::synthetic_model_for_tests {

inline constexpr SyntheticShape kTinyShape = {.layers = 3,
                                              .experts = 24,
                                              .vocab = 160,
                                              .hidden = 96,
                                              .intermediate = 48,
                                              .heads = 6,
                                              .kv_heads = 2,
                                              .head_dim = 32,
                                              .experts_per_token = 3};

/// `threads` make it.
inline std::unique_ptr<MiniMaxM2> synthetic_model(std::shared_ptr<Kernels> kernels,
                                                  uint64_t seed = 1, int threads = 2) {
  ThreadPool pool(threads);
  return make_synthetic_model(synthetic_config(kTinyShape).value(), seed, pool, std::move(kernels))
      .value();
}

inline std::unique_ptr<MiniMaxM2> fast_model(uint64_t seed = 1, int threads = 2) {
  return synthetic_model(make_cpu_kernels(std::make_shared<ThreadPool>(2)).value(), seed, threads);
}

inline std::vector<int32_t> synthetic_ids(int64_t count) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>(i * 7919 % 160);
  return ids;
}

}  // namespace tetrad::synthetic_model_for_tests
