#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "quant/calibrated_encoder.h"

namespace tetrad {

struct CalibrationFlags {
  std::vector<std::string> texts;  // none: no calibration
  Rounding rounding = Rounding::matrix;
};

/// --calibration and --rounding.
void add_calibration_flags(CLI::App& verb, CalibrationFlags& flags);

/// Loads the source model, encodes the texts with its tokenizer and prepares the run, which begins
/// with the first module. Errors name the flag or the file.
Result<std::unique_ptr<CalibratedEncoder>> calibrated_encoder(const CalibrationFlags& flags,
                                                              const std::string& source,
                                                              ScaleSearch search, int threads);

}  // namespace tetrad
