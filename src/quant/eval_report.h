#pragma once

// A comparison as one page of HTML that needs nothing else: no script, no font, no picture from
// elsewhere. The same comparison gives the same bytes.

#include <cstdint>
#include <string>
#include <vector>

#include "quant/compare_models.h"
#include "quant/eval_report_parts.h"

namespace tetrad {

// All text is valid UTF-8.

struct ReportedModel {
  std::string name;      // as the command line had it
  std::string kv_cache;  // "fp8_e4m3"
  std::string kernels;   // Kernels::name()
  std::vector<ModelPart> parts;
};

/// The words around one of ModelComparison::worst.
struct ReportedContext {
  std::string before;
  std::string target;  // the token that was to be predicted
  std::string after;
  std::string top;  // the model's likeliest token
  std::string reference_top;
};

struct EvalReport {
  ReportedModel model;
  ReportedModel reference;
  std::vector<std::string> texts;  // names, in the order of ModelComparison::texts
  int64_t window = 0;
  ModelComparison comparison;
  std::vector<ReportedContext> worst;  // one for each of comparison.worst
};

std::string eval_report_html(const EvalReport& report);

}  // namespace tetrad
