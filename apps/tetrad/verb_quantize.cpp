// tetrad quantize SRC DST: a BF16 or FP8 checkpoint in, an MXFP4-16 checkpoint out.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include "base/percent.h"
#include "byte_size_flag.h"
#include "cli_io.h"
#include "loaded_model.h"
#include "number_flag.h"
#include "quant/kv_calibration.h"
#include "quant/quantizer.h"
#include "verbs.h"

namespace tetrad {
namespace {

struct QuantizeFlags {
  std::string source;
  std::string destination;
  int threads = 0;
  uint64_t max_shard_bytes = 5'000'000'000;
  bool overwrite = false;
  bool dry_run = false;
  std::string kv_calibration;
};

constexpr size_t kShownWorst = 5;

constexpr const char* kQuantizeExamples =
    "Examples:\n"
    "  tetrad quantize MiniMax-M2.7 MiniMax-M2.7-mxfp4_16 --dry-run\n"
    "  tetrad quantize MiniMax-M2.7 MiniMax-M2.7-mxfp4_16 --max-shard-size 8GB\n"
    "  tetrad quantize models/my-bf16 models/my-mxfp4_16 --threads 8 --overwrite\n"
    "  tetrad quantize models/my-bf16 models/my-mxfp4_16 --kv-calibration text.txt\n"
    "\n"
    "Attention projections and experts become 4-bit codes in groups of 16 with one FP16 scale (5\n"
    "bits a weight); embedding, output head, norms and router stay as they are. Memory: about one\n"
    "shard. The result does not depend on the number of threads. With --kv-calibration the source\n"
    "model reads a text first, and the checkpoint gets the scales that an FP8 KV cache needs; a "
    "few\n"
    "thousand tokens like those it will serve are enough.";

/// Tokens that the calibration computes in one go, as long as the model has so many positions.
constexpr int64_t kCalibrationWindow = 1024;

/// A line to stderr for each finished shard, and now and then in between.
class ProgressPrinter {
 public:
  void operator()(const QuantizeProgress& progress) {
    const Clock::time_point now = Clock::now();
    const bool done = progress.quantized_parameters == progress.total_parameters;
    if (!done && progress.shard == last_shard_ && now - last_line_ < kInterval) return;
    last_shard_ = progress.shard;
    last_line_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    fmt::print(stderr, "{:5.1f} %  {:7.0f} s  shard {} of {}  {}\n",
               percent(progress.quantized_parameters, progress.total_parameters), seconds,
               progress.shard, progress.num_shards, progress.module);
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kInterval{2};
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_line_ = start_;
  int64_t last_shard_ = 0;
};

void print_sizes(const QuantizeReport& report) {
  const auto line = [](std::string_view name, int64_t count, int64_t parameters, int64_t bytes) {
    fmt::print("{:<22} {:>8} {:>16} {:>16} {:>12.3f}\n", name, count, parameters, bytes,
               8.0 * static_cast<double>(bytes) / static_cast<double>(parameters));
  };
  const int64_t quantized_bytes = report.quantized_parameters / kMxfp4GroupSize * 10;
  const int64_t scale_bytes = report.measured_kv_scales * int64_t{sizeof(float)};
  const int64_t parameters =
      report.quantized_parameters + report.carried_parameters + report.measured_kv_scales;
  fmt::print("{:<22} {:>8} {:>16} {:>16} {:>12}\n", "", "tensors", "parameters", "bytes",
             "bits/weight");
  line("quantized", report.quantized_matrices, report.quantized_parameters, quantized_bytes);
  line("kept as they are", report.carried_tensors, report.carried_parameters,
       report.bytes - quantized_bytes - scale_bytes);
  if (report.measured_kv_scales > 0) {
    line("scales of the KV cache", report.measured_kv_scales, report.measured_kv_scales,
         scale_bytes);
  }
  line("total", report.quantized_matrices + report.carried_tensors + report.measured_kv_scales,
       parameters, report.bytes);
  fmt::print("{:<22} {:>8} {:>16} {:>16}\n", "source", "", "", report.source_bytes);
}

void print_loss(std::string_view name, int64_t matrices, const QuantizationLoss& loss) {
  fmt::print("{:<22} {:>8} {:>13.3f} % {:>9.2f} % {:>9.2f} % {:>9.2f} %\n", name, matrices,
             100 * loss.relative_rms_error(), percent(loss.negative_scales, loss.groups),
             percent(loss.subnormal_scales, loss.groups), percent(loss.zero_scales, loss.groups));
}

void print_losses(const QuantizeReport& report) {
  struct Part {
    int64_t matrices = 0;
    QuantizationLoss loss;
    void add(const QuantizationLoss& other) {
      ++matrices;
      loss.add(other);
    }
  };
  std::map<TensorRole, Part> parts;
  Part all;
  for (const MatrixLoss& matrix : report.matrices) {
    parts[matrix.role].add(matrix.loss);
    all.add(matrix.loss);
  }
  fmt::print("\n{:<22} {:>8} {:>15} {:>11} {:>11} {:>11}\n", "", "matrices", "relative RMS",
             "scales < 0", "subnormal", "zero");
  for (const auto& [role, part] : parts)
    print_loss(tensor_role_name(role), part.matrices, part.loss);
  print_loss("all", all.matrices, all.loss);
  if (all.loss.clipped_scales > 0) {
    fmt::print("warning: {} groups have weights too large for an FP16 scale and are clipped\n",
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

void print_notes(const QuantizeFlags& flags, const QuantizeReport& report) {
  fmt::print("\n");
  for (const std::string& name : report.unknown_tensors)
    fmt::print("warning: tensor \"{}\" is not part of the model; kept as it is\n", name);
  if (flags.dry_run) {
    fmt::print("dry run: nothing was written; {} file(s) of weights would be\n", report.num_shards);
    return;
  }
  const auto& copied = report.copied_files;
  if (std::find(copied.begin(), copied.end(), "tokenizer.json") == copied.end()) {
    fmt::print("warning: {} has no tokenizer.json; the result needs one before it can be served\n",
               flags.source);
  }
  fmt::print("{}: {} file(s) of weights; copied {}\n", flags.destination, report.num_shards,
             copied.empty() ? "nothing else" : fmt::to_string(fmt::join(copied, ", ")));
}

/// The scales of an FP8 KV cache, measured while the source reads the text of --kv-calibration.
Result<std::vector<KvScales>> calibrate(const QuantizeFlags& flags) {
  ModelFlags source;
  source.model = flags.source;
  source.threads = flags.threads;
  source.kv_cache_dtype = "float32";
  TETRAD_ASSIGN(const std::unique_ptr<LoadedModel> loaded, load_model(source));
  TETRAD_ASSIGN(const std::vector<TokenId> ids,
                encode_file(*loaded->tokenizer, flags.kv_calibration));
  fmt::print(stderr, "measuring the KV cache's scales on {} tokens\n", ids.size());
  return calibrate_kv_scales(
      *loaded->model, ids,
      std::min(kCalibrationWindow, loaded->model->config().max_position_embeddings));
}

int quantize(const QuantizeFlags& flags) {
  ProgressPrinter printer;
  QuantizeOptions options;
  options.max_shard_bytes = static_cast<int64_t>(flags.max_shard_bytes);
  options.num_threads = flags.threads;
  options.overwrite = flags.overwrite;
  options.dry_run = flags.dry_run;
  options.on_progress = [&printer](const QuantizeProgress& progress) { printer(progress); };
  if (!flags.kv_calibration.empty()) {
    options.calibrate_kv = [&flags] { return calibrate(flags); };
  }
  const auto done = quantize_checkpoint(flags.source, flags.destination, options);
  if (!done) return report(done.error());
  print_sizes(*done);
  if (!flags.dry_run) {
    print_losses(*done);
    print_worst(*done);
  }
  print_notes(flags, *done);
  return kExitOk;
}

}  // namespace

void add_verb_quantize(CLI::App& app, int& exit_status) {
  CLI::App* verb = app.add_subcommand("quantize", "BF16 or FP8 checkpoint to MXFP4-16");
  auto flags = std::make_shared<QuantizeFlags>();
  verb->add_option("SRC", flags->source, "checkpoint folder: BF16, F16, F32 or 128x128 block FP8")
      ->required();
  verb->add_option("DST", flags->destination, "folder to write")->required();
  verb->add_option("--threads", flags->threads, "threads; 0: one for each processor")
      ->transform(as_whole_number({.from = 0, .to = 1024}));
  verb->add_option("--max-shard-size", flags->max_shard_bytes,
                   "largest file of weights: 5GB, 500MB, 4GiB or a number of bytes")
      ->transform(as_byte_size())
      ->option_text("SIZE [5GB]");
  verb->add_option(
          "--kv-calibration", flags->kv_calibration,
          "text file on which the scales of an FP8 KV cache are measured; without it those "
          "of the source are carried over, if it has any")
      ->check(CLI::ExistingFile);
  verb->add_flag("--overwrite", flags->overwrite,
                 "write into a folder that is not empty, replacing the mxfp4_16 checkpoint in it");
  verb->add_flag("--dry-run", flags->dry_run, "check everything and show the sizes; write nothing");
  verb->footer(kQuantizeExamples);
  verb->callback([flags, &exit_status] { exit_status = quantize(*flags); });
}

}  // namespace tetrad
