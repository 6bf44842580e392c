// tetrad quantize SRC DST: a checkpoint in, an MXFP4-16 checkpoint or one of another format out.

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "byte_size_flag.h"
#include "cli_io.h"
#include "interrupts.h"
#include "named_option.h"
#include "number_flag.h"
#include "quant/quantizer.h"
#include "quantize_calibration.h"
#include "quantize_output.h"
#include "quantize_progress.h"
#include "verbs.h"

namespace tetrad {
namespace {

struct QuantizeFlags {
  std::string source;
  std::string destination;
  TargetFormat format = TargetFormat::mxfp4_16;
  ScaleSearch search = ScaleSearch::exact;
  std::vector<std::string> keep;
  int threads = 0;
  uint64_t max_shard_bytes = 5'000'000'000;
  bool overwrite = false;
  bool dry_run = false;
  CalibrationFlags calibration;
};

constexpr const char* kQuantizeExamples =
    "Examples:\n"
    "  tetrad quantize MiniMax-M2.7 MiniMax-M2.7-mxfp4_16 --dry-run\n"
    "  tetrad quantize MiniMax-M2.7 MiniMax-M2.7-mxfp4_16 --calibration text.txt\n"
    "  tetrad quantize MiniMax-M2.7 out --keep 'model.layers.0.*' --keep 're:.*\\.self_attn\\.'\n"
    "  tetrad quantize MiniMax-M2.7-mxfp4_16 MiniMax-M2.7-bf16 --format bf16\n"
    "\n"
    "Attention projections and experts become 4-bit codes in groups of 16 with one FP16 scale (5\n"
    "bits a weight), or what --format says; embedding, output head, norms and router stay as they\n"
    "are. Memory: a few matrices, however large the model is (--dry-run shows how much). The\n"
    "result does not depend on the number of threads. Whatever stops it, Ctrl-C, a full disk or a\n"
    "power cut: the same command (without --overwrite) goes on from there, and the result is the\n"
    "same. With --calibration the source model reads a text first: its activations decide how\n"
    "weights are rounded, which halves the loss, and the checkpoint gets the scales that an FP8 "
    "KV\n"
    "cache needs. Some ten thousand tokens like those it will serve are enough.";

Result<QuantizeReport> run_quantizer(const QuantizeFlags& flags) {
  const Interrupts interrupts({SIGINT, SIGTERM});
  QuantizeProgressPrinter printer;
  QuantizeOptions options;
  options.format = flags.format;
  options.search = flags.search;
  options.keep = flags.keep;
  options.max_shard_bytes = static_cast<int64_t>(flags.max_shard_bytes);
  options.num_threads = flags.threads;
  options.overwrite = flags.overwrite;
  options.dry_run = flags.dry_run;
  options.on_progress = [&printer](const QuantizeProgress& progress) { printer.show(progress); };
  options.should_stop = [] { return Interrupts::take(); };
  std::unique_ptr<CalibratedEncoder> encoder;
  if (!flags.calibration.texts.empty()) {
    CalibrationFlags calibration = flags.calibration;
    if (flags.format != TargetFormat::mxfp4_16) calibration.rounding = Rounding::plain;
    TETRAD_ASSIGN(encoder,
                  calibrated_encoder(calibration, flags.source, flags.search, flags.threads));
    options.encoder = encoder.get();
  }
  return quantize_checkpoint(flags.source, flags.destination, options);
}

/// Flags that only MXFP4-16 has a use for are refused with another format, not ignored.
Result<void> check_format_flags(const CLI::App& verb, const QuantizeFlags& flags) {
  if (flags.search == ScaleSearch::amax && flags.calibration.rounding == Rounding::importance) {
    return fail_param("--rounding",
                      "--rounding importance weighs a search, and --scale-search amax "
                      "has none");
  }
  if (flags.format == TargetFormat::mxfp4_16) return {};
  for (const char* flag : {"--scale-search", "--rounding"}) {
    if (verb.count(flag) == 0) continue;
    return fail_param(flag, "{} is for mxfp4_16; --format {} is rounded plainly", flag,
                      target_format_name(flags.format));
  }
  return {};
}

int quantize(const CLI::App& verb, const QuantizeFlags& flags) {
  if (const auto checked = check_format_flags(verb, flags); !checked)
    return report(checked.error());
  const auto done = run_quantizer(flags);
  if (!done) {
    const int status = report(done.error());
    if (done.error().code == ErrorCode::resource_exhausted) {
      fmt::print(stderr,
                 "what is done stays; with more room the same command{} goes on from there\n",
                 flags.overwrite ? " without --overwrite" : "");
    }
    return status;
  }
  print_quantize_report({flags.source, flags.destination, flags.format, flags.dry_run}, *done);
  if (flags.dry_run && !flags.calibration.texts.empty())
    fmt::print("the time that calibration takes comes on top\n");
  return kExitOk;
}

void add_what_to_write(CLI::App& verb, QuantizeFlags& flags) {
  add_named_option(verb, "--format", flags.format,
                   "mxfp4_16, bf16 (dense, which transformers loads), mxfp4, nvfp4 or fp8_block",
                   {TargetFormat::mxfp4_16, TargetFormat::bf16, TargetFormat::mxfp4,
                    TargetFormat::nvfp4, TargetFormat::fp8_block},
                   target_format_name);
  add_named_option(verb, "--scale-search", flags.search,
                   "how the scale of a group of mxfp4_16 is found: exact, fast (nearly as good) or "
                   "amax (no search)",
                   {ScaleSearch::exact, ScaleSearch::fast, ScaleSearch::amax}, scale_search_name);
  verb.add_option("--keep", flags.keep,
                  "modules that stay dense, by a shell pattern for their names or a regular "
                  "expression behind re:, which must match their beginning; may be repeated")
      ->allow_extra_args(false)
      ->option_text("PATTERN ...");
}

}  // namespace

void add_verb_quantize(CLI::App& app, int& exit_status) {
  CLI::App* verb =
      app.add_subcommand("quantize", "Checkpoint to MXFP4-16 or another weight format");
  auto flags = std::make_shared<QuantizeFlags>();
  verb->add_option("SRC", flags->source,
                   "checkpoint folder: BF16, F16, F32, FP8, or any other format that tetrad reads")
      ->required();
  verb->add_option("DST", flags->destination, "folder to write, or to continue in")->required();
  add_what_to_write(*verb, *flags);
  add_calibration_flags(*verb, flags->calibration);
  verb->add_option("--threads", flags->threads, "threads; 0: one for each processor")
      ->transform(as_whole_number({.from = 0, .to = 1024}));
  verb->add_option("--max-shard-size", flags->max_shard_bytes,
                   "largest file of weights: 5GB, 500MB, 4GiB or a number of bytes")
      ->transform(as_byte_size())
      ->option_text("SIZE [5GB]");
  verb->add_flag("--overwrite", flags->overwrite,
                 "start anew in a folder that is not empty, replacing what tetrad quantize has "
                 "made or left there");
  verb->add_flag("--dry-run", flags->dry_run,
                 "check everything and show sizes, memory and time; write nothing");
  verb->footer(kQuantizeExamples);
  verb->callback([verb, flags, &exit_status] { exit_status = quantize(*verb, *flags); });
}

}  // namespace tetrad
