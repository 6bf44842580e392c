#pragma once

// What `tetrad quantize` says at its end, on stdout.

#include <string>

#include "quant/quantizer.h"

namespace tetrad {

struct QuantizeOutput {
  std::string source;
  std::string destination;
  TargetFormat format = TargetFormat::mxfp4_16;
  bool dry_run = false;
};

void print_quantize_report(const QuantizeOutput& output, const QuantizeReport& report);

}  // namespace tetrad
