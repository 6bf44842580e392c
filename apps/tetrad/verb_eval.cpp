#include "cli_io.h"
#include "loaded_model.h"
#include "number_flag.h"
#include "quant/kv_calibration.h"
#include "quant/perplexity.h"
#include "verbs.h"

namespace tetrad {
namespace {

struct EvalFlags {
  ModelFlags model;
  std::string text;
  std::string calibrate_kv;
  int64_t window = 1024;
};

/// --calibrate-kv is about an FP8 cache, whose scales it measures: flags that say otherwise
/// contradict it.
Result<void> check_calibration_flags(const ModelFlags& flags) {
  if (!flags.kv_cache_dtype.starts_with("fp8")) {
    return fail_param("--calibrate-kv",
                      "--calibrate-kv measures scales for --kv-cache-dtype fp8_e4m3, not for {}",
                      flags.kv_cache_dtype);
  }
  if (flags.kv_scale) {
    return fail_param("--calibrate-kv", "--calibrate-kv and --kv-scale exclude each other");
  }
  return {};
}

Result<std::unique_ptr<LoadedModel>> load(const EvalFlags& flags) {
  if (flags.calibrate_kv.empty()) return load_model(flags.model);
  TETRAD_TRY(check_calibration_flags(flags.model));
  ModelFlags without_scales = flags.model;
  without_scales.kv_cache_dtype = "bf16";
  TETRAD_ASSIGN(std::unique_ptr<LoadedModel> loaded, load_model(without_scales));
  // The calibration refuses it too, but cannot know that a flag said it.
  const int64_t longest = loaded->model->config().max_position_embeddings;
  if (flags.window > longest) {
    return fail_param("--window", "--window {}: the model has {} positions", flags.window, longest);
  }
  TETRAD_ASSIGN(const std::vector<TokenId> ids,
                encode_file(*loaded->tokenizer, flags.calibrate_kv));
  loaded->kv_cache.dtype = DType::f8_e4m3;
  TETRAD_ASSIGN(loaded->kv_cache.scales, calibrate_kv_scales(*loaded->model, ids, flags.window));
  return loaded;
}

Result<json::object> evaluate(const EvalFlags& flags) {
  TETRAD_ASSIGN(const auto loaded, load(flags));
  TETRAD_ASSIGN(const std::vector<TokenId> ids, encode_file(*loaded->tokenizer, flags.text));
  TETRAD_ASSIGN(const Perplexity result,
                evaluate_perplexity(*loaded->model, loaded->kv_cache, ids, flags.window));
  return json::object{{"mean_nll", result.mean_nll},
                      {"tokens", result.num_tokens},
                      {"perplexity", result.perplexity()},
                      {"kv_cache_dtype", dtype_name(loaded->kv_cache.dtype)}};
}

int run(const EvalFlags& flags) {
  const auto result = evaluate(flags);
  if (!result) return report(result.error());
  fmt::print("{}\n", to_json_text(*result));
  return kExitOk;
}

}  // namespace

void add_verb_eval(CLI::App& app, int& exit_status) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App* verb = app.add_subcommand("eval", "How well a model predicts a text, as one JSON line");
  add_model_flags(*verb, flags->model);
  verb->add_option("--text", flags->text, "text file, UTF-8; special tokens in it are parsed")
      ->required();
  verb->add_option("--calibrate-kv", flags->calibrate_kv,
                   "with --kv-cache-dtype fp8_e4m3: measure the scales on this text, which should "
                   "not be the evaluated one, instead of taking the checkpoint's");
  verb->add_option("--window", flags->window,
                   "tokens of a window; each runs alone and predicts all its tokens but the first")
      ->transform(as_whole_number({.from = 2}));
  verb->footer(R"(Examples:
  tetrad eval models/tetrad-demo-mxfp4_16 --text book.txt --window 1024
  tetrad eval MODEL --text book.txt --kv-cache-dtype fp8_e4m3 --calibrate-kv other.txt)");
  verb->callback([flags, &exit_status] { exit_status = run(*flags); });
}

}  // namespace tetrad
