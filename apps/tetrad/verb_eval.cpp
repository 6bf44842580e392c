// tetrad eval MODEL: how well it predicts texts; with --against REF, what it lost.

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "base/pending_file.h"
#include "cli_io.h"
#include "compute_device.h"
#include "eval_flags.h"
#include "number_flag.h"
#include "quant/kv_calibration.h"
#include "quant/perplexity.h"
#include "rank_session.h"
#include "verbs.h"

namespace tetrad {
namespace {

/// --calibrate-kv is about an FP8 cache, whose scales it measures: flags that say otherwise
/// contradict it.
Result<void> check_calibration_flags(const ModelFlags& flags) {
  TETRAD_TRY(check_observable(flags, "--calibrate-kv"));
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

/// For one text the fields stand alone; of several they are of all together.
Result<json::object> evaluate(const EvalFlags& flags) {
  TETRAD_ASSIGN(const auto loaded, load_evaluated_model(flags, TokenizerNeed::required));
  TETRAD_TRY(calibrate_kv_cache(flags, *loaded->tokenizer, *loaded));
  TETRAD_ASSIGN(const std::vector<EvalText> texts,
                encode_texts(flags, *loaded->tokenizer, loaded->model->config().vocab_size));
  json::array of_each;
  double nll = 0;
  Perplexity all;
  for (const EvalText& text : texts) {
    auto computed = evaluate_perplexity(*loaded->model, text.ids, flags.window);
    // Only of sequences of the window's length can there be too little memory.
    if (!computed && computed.error().code == ErrorCode::resource_exhausted)
      return tl::unexpected(at_flag(std::move(computed.error()), "--window"));
    TETRAD_ASSIGN(const Perplexity result, std::move(computed));
    of_each.push_back(json::object{{"text", text.path},
                                   {"mean_nll", result.mean_nll},
                                   {"tokens", result.num_tokens},
                                   {"perplexity", result.perplexity()}});
    nll += result.mean_nll * static_cast<double>(result.num_tokens);
    all.num_tokens += result.num_tokens;
    // The mean of a mean over one text may differ from it in the last bit.
    all.mean_nll = texts.size() == 1 ? result.mean_nll : nll / static_cast<double>(all.num_tokens);
  }
  json::object line{{"mean_nll", all.mean_nll},
                    {"tokens", all.num_tokens},
                    {"perplexity", all.perplexity()},
                    {"kv_cache_dtype", dtype_name(loaded->model->kv_dtype())},
                    {"device", loaded->model->device()},
                    {"kernels", loaded->model->kernels()}};
  if (texts.size() > 1) line["texts"] = std::move(of_each);
  return line;
}

int run(const EvalFlags& flags) {
  if (!flags.against.empty()) return run_eval_against(flags);
  for (const auto& [flag, value] : {std::pair("--json", flags.json), {"--html", flags.html}}) {
    if (value.empty()) continue;
    return report(
        fail_param(flag, "{} is for a comparison: --against REF is needed too", flag).value());
  }
  const auto result = evaluate(flags);
  if (!result) return report(result.error());
  fmt::print("{}\n", to_json_text(*result));
  return kExitOk;
}

}  // namespace

Result<void> check_observable(const ModelFlags& flags, std::string_view flag) {
  if (flags.ranks.are_many()) {
    return fail_param(flag,
                      "{} looks into the forward pass, which one rank alone shows; leave "
                      "--tensor-parallel-size out",
                      flag);
  }
  if (!is_gpu(flags.device)) return {};
  return fail_param(flag, "{} looks into the forward pass, which only --device cpu shows, not {}",
                    flag, flags.device);
}

Result<std::unique_ptr<LoadedModel>> load_evaluated_model(const EvalFlags& flags,
                                                          TokenizerNeed need) {
  if (flags.calibrate_kv.empty()) return load_model(flags.model, need);
  TETRAD_TRY(check_calibration_flags(flags.model));
  ModelFlags without_scales = flags.model;
  without_scales.kv_cache_dtype = "bf16";
  return load_model(without_scales, need);
}

Result<void> calibrate_kv_cache(const EvalFlags& flags, const Tokenizer& tokenizer,
                                LoadedModel& loaded) {
  if (flags.calibrate_kv.empty()) return {};
  // The calibration refuses it too, but cannot know that a flag said it.
  const int64_t longest = loaded.model->config().max_position_embeddings;
  if (flags.window > longest) {
    return fail_param("--window", "--window {}: the model has {} positions", flags.window, longest);
  }
  TETRAD_ASSIGN(const std::vector<TokenId> ids, encode_file(tokenizer, flags.calibrate_kv));
  KvCacheFormat format{.dtype = DType::f8_e4m3, .scales = {}};
  TETRAD_ASSIGN(format.scales, calibrate_kv_scales(*loaded.cpu_model, ids, flags.window));
  compute_on_cpu(loaded, std::move(loaded.cpu_model), std::move(format));
  return {};
}

Result<std::vector<EvalText>> encode_texts(const EvalFlags& flags, const Tokenizer& tokenizer,
                                           int64_t vocab_size) {
  std::vector<EvalText> texts;
  for (const std::string& path : flags.texts) {
    TETRAD_ASSIGN(std::vector<TokenId> ids, encode_file(tokenizer, path));
    auto checked = check_evaluated_ids(ids, vocab_size);
    if (!checked) return tl::unexpected(std::move(checked.error()).in(path));
    texts.push_back({.path = path, .ids = std::move(ids)});
  }
  return texts;
}

void add_verb_eval(CLI::App& app, int& exit_status) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App* verb = app.add_subcommand(
      "eval", "How well a model predicts texts, as one JSON line; what it lost against another");
  add_model_flags(*verb, flags->model);
  verb->add_option("--text", flags->texts,
                   "text file, UTF-8; special tokens in it are parsed. May be given several times")
      ->required()
      ->allow_extra_args(false);
  verb->add_option("--against", flags->against,
                   "folder of the checkpoint that MODEL was made of: compares every prediction and "
                   "every layer and prints tables. It computes with a float32 KV cache; the flags "
                   "of the cache are for MODEL");
  verb->add_option("--json", flags->json,
                   "with --against: writes the figures to this file; \"-\": prints them instead of "
                   "the tables");
  verb->add_option("--html", flags->html,
                   "with --against: writes a page with plots and the worst positions to this file");
  verb->add_option("--calibrate-kv", flags->calibrate_kv,
                   "with --kv-cache-dtype fp8_e4m3: measure the scales on this text, which should "
                   "not be the evaluated one, instead of taking the checkpoint's");
  verb->add_option("--window", flags->window,
                   "tokens of a window; each runs alone and predicts all its tokens but the first")
      ->transform(as_whole_number({.from = 2}));
  verb->footer(R"(Examples:
  tetrad eval models/tetrad-demo-mxfp4_16 --text book.txt --window 1024
  tetrad eval MODEL --against REF --text book.txt --text chat.txt --html report.html
  tetrad eval MODEL --text book.txt --kv-cache-dtype fp8_e4m3 --calibrate-kv other.txt)");
  verb->callback([flags, &exit_status] {
    exit_status = run_with_ranks(flags->model, [&] { return run(*flags); });
  });
}

}  // namespace tetrad
