#include "base/mapped_file.h"
#include "cli_io.h"
#include "loaded_model.h"
#include "quant/perplexity.h"
#include "verbs.h"

namespace tetrad {
namespace {

struct EvalFlags {
  ModelFlags model;
  std::string text;
  int64_t window = 1024;
};

Result<json::object> evaluate(const EvalFlags& flags) {
  TETRAD_ASSIGN(const auto loaded, load_model(flags.model));
  TETRAD_ASSIGN(const std::string text, read_text_file(flags.text));
  auto ids = loaded->tokenizer->encode(text);
  if (!ids) return tl::unexpected(std::move(ids.error()).in(flags.text));
  TETRAD_ASSIGN(const Perplexity result,
                evaluate_perplexity(*loaded->model, loaded->kv_cache_dtype, *ids, flags.window));
  return json::object{{"mean_nll", result.mean_nll},
                      {"tokens", result.num_tokens},
                      {"perplexity", result.perplexity()}};
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
  verb->add_option("--window", flags->window,
                   "tokens of a window; each runs alone and predicts all its tokens but the first");
  verb->footer(R"(Example:
  tetrad eval models/tetrad-demo-mxfp4_16 --text book.txt --window 1024)");
  verb->callback([flags, &exit_status] { exit_status = run(*flags); });
}

}  // namespace tetrad
