#pragma once

// The models that tests plan for.

#include <gtest/gtest.h>

#include <string>

#include "plan/planned_model.h"
#include "plan/sharding.h"

namespace tetrad::plan {

/// The layout of the model card.
inline constexpr Layout kEight{.tensor_parallel = 8};

inline std::filesystem::path minimax_m2_7_config() {
  return std::filesystem::path(TETRAD_SOURCE_DIR) / "tests/golden/minimax-m2.7/config.json";
}

/// MiniMax-M2.7 as its config.json describes it.
inline PlannedModel minimax_m2_7(const AssumedFormats& assumed = {}) {
  auto model = open_planned_model(minimax_m2_7_config(), assumed);
  EXPECT_TRUE(model) << model.error().message;
  return model ? *model : PlannedModel{};
}

inline std::filesystem::path demo_folder() {
  return std::filesystem::path(TETRAD_SOURCE_DIR) / "models/tetrad-demo-mxfp4_16";
}

}  // namespace tetrad::plan
