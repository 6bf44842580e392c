#include "quantize_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <vector>

#include "base/percent.h"
#include "quantize_progress.h"

namespace tetrad {
namespace {

constexpr size_t kShownWorst = 5;

void print_part(std::string_view name, const PlannedPart& part) {
  const double bits = part.parameters == 0 ? 0
                                           : 8.0 * static_cast<double>(part.bytes) /
                                                 static_cast<double>(part.parameters);
  fmt::print("{:<22} {:>8} {:>16} {:>16} {:>12.3f}\n", name, part.count, part.parameters,
             part.bytes, bits);
}

void print_sizes(const QuantizeOutput& output, const QuantizeReport& report) {
  PlannedPart total;
  for (const PlannedPart* part :
       {&report.quantized, &report.dequantized, &report.carried, &report.kv_scales}) {
    total.count += part->count;
    total.parameters += part->parameters;
    total.bytes += part->bytes;
  }
  fmt::print("{:<22} {:>8} {:>16} {:>16} {:>12}\n", "", "tensors", "parameters", "bytes",
             "bits/weight");
  print_part(fmt::format("to {}", target_format_name(output.format)), report.quantized);
  if (report.dequantized.count > 0) print_part("to bf16", report.dequantized);
  print_part("kept as they are", report.carried);
  if (report.kv_scales.count > 0) print_part("scales of the KV cache", report.kv_scales);
  print_part("total", total);
  fmt::print("{:<22} {:>8} {:>16} {:>16}\n", "source", "", "", report.source_bytes);
  if (report.kept_modules > 0)
    fmt::print("kept dense by --keep: {} modules\n", report.kept_modules);
}

struct LossPart {
  int64_t matrices = 0;
  QuantizationLoss loss;

  void add(const QuantizationLoss& other) {
    ++matrices;
    loss.add(other);
  }
};

void print_loss(std::string_view name, const LossPart& part) {
  const QuantizationLoss& loss = part.loss;
  fmt::print("{:<22} {:>8} {:>13.3f} % {:>9.2f} % {:>9.2f} % {:>9.2f} %\n", name, part.matrices,
             100 * loss.relative_rms_error(), percent(loss.negative_scales, loss.groups),
             percent(loss.subnormal_scales, loss.groups), percent(loss.zero_scales, loss.groups));
}

void print_losses(const QuantizeReport& report) {
  std::map<TensorRole, LossPart> parts;
  LossPart all;
  for (const MatrixLoss& matrix : report.matrices) {
    parts[matrix.role].add(matrix.loss);
    all.add(matrix.loss);
  }
  fmt::print("\n{:<22} {:>8} {:>15} {:>11} {:>11} {:>11}\n", "", "matrices", "relative RMS",
             "scales < 0", "subnormal", "zero");
  for (const auto& [role, part] : parts)
    print_loss(tensor_role_name(role), part);
  print_loss("all", all);
  if (all.loss.clipped_scales > 0) {
    fmt::print("warning: {} groups have weights too large for the largest scale and are clipped\n",
               all.loss.clipped_scales);
  }
}

void print_worst(const QuantizeReport& report) {
  std::vector<const MatrixLoss*> worst;
  worst.reserve(report.matrices.size());
  for (const MatrixLoss& matrix : report.matrices)
    worst.push_back(&matrix);
  const size_t shown = std::min(kShownWorst, worst.size());
  std::partial_sort(worst.begin(), worst.begin() + static_cast<ptrdiff_t>(shown), worst.end(),
                    [](const MatrixLoss* a, const MatrixLoss* b) {
                      return a->loss.relative_rms_error() > b->loss.relative_rms_error();
                    });
  fmt::print("\nlargest relative RMS errors\n");
  for (size_t i = 0; i < shown; ++i) {
    fmt::print("{:7.3f} %  {}\n", 100 * worst[i]->loss.relative_rms_error(), worst[i]->module);
  }
}

void print_dry_run(const QuantizeReport& report) {
  constexpr double kMiB = 1 << 20;
  fmt::print("memory beside the program: at most {:.0f} MiB\n",
             static_cast<double>(report.working_set_bytes) / kMiB);
  if (report.estimated_seconds > 0) {
    fmt::print("time to encode, by a sample: about {}\n", rough_duration(report.estimated_seconds));
  }
  fmt::print("dry run: nothing was written; {} file(s) of weights would be\n", report.num_shards);
}

void print_notes(const QuantizeOutput& output, const QuantizeReport& report) {
  fmt::print("\n");
  for (const std::string& name : report.unknown_tensors)
    fmt::print("warning: tensor \"{}\" is not part of the model; kept as it is\n", name);
  if (output.dry_run) return print_dry_run(report);
  if (report.was_complete) {
    fmt::print("{} was complete already: {} file(s) of weights, all verified\n", output.destination,
               report.num_shards);
    return;
  }
  const auto& copied = report.copied_files;
  if (std::find(copied.begin(), copied.end(), "tokenizer.json") == copied.end()) {
    fmt::print("warning: {} has no tokenizer.json; the result needs one before it can be served\n",
               output.source);
  }
  fmt::print("{}: {} file(s) of weights; copied {}\n", output.destination, report.num_shards,
             copied.empty() ? "nothing else" : fmt::to_string(fmt::join(copied, ", ")));
}

}  // namespace

void print_quantize_report(const QuantizeOutput& output, const QuantizeReport& report) {
  print_sizes(output, report);
  if (!report.matrices.empty()) {
    print_losses(report);
    print_worst(report);
  }
  print_notes(output, report);
}

}  // namespace tetrad
