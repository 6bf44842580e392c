#pragma once

// For tests only: the model that comes with the repository.

#include <gtest/gtest.h>

#include <filesystem>

#include "text/tokenizer.h"

namespace tetrad {

inline std::filesystem::path bundled_model() {
  return std::filesystem::path(TETRAD_SOURCE_DIR) / "models" / "tetrad-demo-mxfp4_16";
}

inline const Tokenizer& bundled_tokenizer() {
  static const auto tokenizer = Tokenizer::from_file(bundled_model() / "tokenizer.json");
  // value() throws the error at the test if the file does not load.
  return tokenizer.value();
}

}  // namespace tetrad
