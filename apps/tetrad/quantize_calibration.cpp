#include "quantize_calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "loaded_model.h"
#include "named_option.h"

namespace tetrad {
namespace {

/// Tokens of a window, as long as the model has so many positions.
constexpr int64_t kCalibrationWindow = 1024;
/// With fewer, what the text happens to say decides too much.
constexpr size_t kFewTokens = 2048;

}  // namespace

void add_calibration_flags(CLI::App& verb, CalibrationFlags& flags) {
  CLI::Option* texts = verb.add_option(
      "--calibration", flags.texts,
      "text file that the source model reads while it is quantized: its activations decide how "
      "weights are rounded, and the scales of an FP8 KV cache are measured; may be repeated");
  texts->allow_extra_args(false)->check(CLI::ExistingFile)->option_text("FILE ...");
  add_named_option(verb, "--rounding", flags.rounding,
                   "what the activations have to say about the rounding to mxfp4_16. matrix: all "
                   "weights of a row make up for each other's errors; group: those that share a "
                   "scale do; importance: only how much the error of an input channel counts; "
                   "plain: nothing",
                   {Rounding::matrix, Rounding::group, Rounding::importance, Rounding::plain},
                   rounding_name)
      ->needs(texts);
}

Result<std::unique_ptr<CalibratedEncoder>> calibrated_encoder(const CalibrationFlags& flags,
                                                              const std::string& source,
                                                              ScaleSearch search, int threads) {
  ModelFlags model;
  model.model = source;
  model.threads = threads;
  model.dtype = "float32";
  TETRAD_ASSIGN(std::unique_ptr<LoadedModel> loaded, load_model(model));
  std::vector<TokenId> ids;
  for (const std::string& text : flags.texts) {
    TETRAD_ASSIGN(const std::vector<TokenId> of_text, encode_file(*loaded->tokenizer, text));
    ids.insert(ids.end(), of_text.begin(), of_text.end());
  }
  if (ids.empty()) {
    return fail_param("--calibration", "--calibration: there is no text in {}",
                      fmt::join(flags.texts, ", "));
  }
  const int64_t longest = loaded->model->config().max_position_embeddings;
  fmt::print(
      stderr, "calibrating on {} tokens{}\n", ids.size(),
      ids.size() < kFewTokens ? "; warning: these are few, some ten thousand are better" : "");
  TETRAD_ASSIGN(
      std::unique_ptr<CalibrationRun> run,
      CalibrationRun::create(std::move(loaded->cpu_model), loaded->checkpoint, std::move(ids),
                             {.window = std::min(kCalibrationWindow, longest)}));
  return std::make_unique<CalibratedEncoder>(
      std::move(run), CalibratedEncoderOptions{.search = search, .rounding = flags.rounding});
}

}  // namespace tetrad
