// tetrad eval MODEL --against REF

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <span>
#include <utility>

#include "base/pending_file.h"
#include "cli_io.h"
#include "eval_flags.h"
#include "eval_output.h"
#include "quant/compare_models.h"
#include "quant/eval_report.h"
#include "text/utf8.h"

namespace tetrad {
namespace {

/// Tokens shown around a position of large divergence.
constexpr int64_t kTokensBefore = 48;
constexpr int64_t kTokensAfter = 12;

/// Names of files and folders may hold any bytes, JSON and HTML only UTF-8.
std::string as_utf8(std::string_view bytes) {
  std::string text;
  append_lossy_utf8(bytes, text);
  return text;
}

/// The comparison is with what the reference really computes: nothing is rounded, its cache is
/// float32. It computes with the threads of the model.
Result<std::unique_ptr<LoadedModel>> load_reference(const std::string& folder,
                                                    const std::string& kernels,
                                                    std::shared_ptr<ThreadPool> pool) {
  TETRAD_ASSIGN(std::unique_ptr<LoadedModel> loaded,
                open_model_folder(folder, TokenizerNeed::optional));
  loaded->pool = std::move(pool);
  TETRAD_ASSIGN(auto named, make_named_kernels(kernels, loaded->pool, ActivationType::f32));
  TETRAD_ASSIGN(auto model, MiniMaxM2::load(loaded->checkpoint, std::move(named)));
  compute_on_cpu(*loaded, std::move(model), {.dtype = DType::f32, .scales = {}});
  return loaded;
}

struct ComparedModels {
  std::unique_ptr<LoadedModel> model;
  std::unique_ptr<LoadedModel> reference;

  /// That of the model; of the reference where the model has none.
  const Tokenizer& tokenizer() const {
    return *(model->tokenizer != nullptr ? model->tokenizer : reference->tokenizer);
  }
};

Result<ComparedModels> load_both(const EvalFlags& flags) {
  ComparedModels models;
  TETRAD_ASSIGN(models.model, load_evaluated_model(flags, TokenizerNeed::optional));
  auto reference = load_reference(flags.against, flags.model.kernels, models.model->pool);
  if (!reference) return tl::unexpected(std::move(reference.error()).in("--against"));
  models.reference = std::move(*reference);
  if (models.model->tokenizer == nullptr && models.reference->tokenizer == nullptr) {
    return fail(ErrorCode::not_found, "neither {} nor {} has a tokenizer.json: one is needed",
                flags.model.model, flags.against);
  }
  TETRAD_TRY(calibrate_kv_cache(flags, models.tokenizer(), *models.model));
  return models;
}

/// Ids mean the same in both models only if their tokenizers make the same ids of the texts.
Result<void> check_tokenizers(const EvalFlags& flags, const ComparedModels& models,
                              std::span<const EvalText> texts) {
  if (models.model->tokenizer == nullptr || models.reference->tokenizer == nullptr) return {};
  const Tokenizer& other = *models.reference->tokenizer;
  if (models.tokenizer().vocab_size() != other.vocab_size()) {
    return fail_param("--against", "--against: the tokenizer of {} has {} tokens and that of {} {}",
                      flags.model.model, models.tokenizer().vocab_size(), flags.against,
                      other.vocab_size());
  }
  for (const EvalText& text : texts) {
    TETRAD_ASSIGN(const std::vector<TokenId> ids, encode_file(other, text.path));
    if (ids == text.ids) continue;
    const auto differ = std::ranges::mismatch(ids, text.ids);
    return fail_param("--against",
                      "--against: the tokenizers of the two models cut {} differently, from token "
                      "{} on",
                      text.path, differ.in1 - ids.begin());
  }
  return {};
}

/// Names of files without their folders, where that tells them apart.
std::vector<std::string> text_names(std::span<const EvalText> texts) {
  std::vector<std::string> names;
  std::set<std::string> distinct;
  for (const EvalText& text : texts) {
    names.push_back(as_utf8(std::filesystem::path(text.path).filename().string()));
    distinct.insert(names.back());
  }
  if (distinct.size() == texts.size()) return names;
  names.clear();
  for (const EvalText& text : texts)
    names.push_back(as_utf8(text.path));
  return names;
}

std::string decode_one(const Tokenizer& tokenizer, TokenId id) {
  const std::string text = tokenizer.decode(std::span(&id, 1), false);
  return text.empty() ? fmt::format("(id {})", id) : text;
}

/// What stands before is no more than the model saw: its window.
ReportedContext context_of(const WorstPosition& worst, const EvalText& text,
                           const Tokenizer& tokenizer) {
  const std::span<const TokenId> ids = text.ids;
  const int64_t before = std::min(kTokensBefore, worst.position + 1);
  const auto after = std::min(kTokensAfter, static_cast<int64_t>(ids.size()) - 1 - worst.index);
  const auto decode = [&](int64_t begin, int64_t count) {
    return tokenizer.decode(ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(count)),
                            false);
  };
  return {.before = (before <= worst.position ? "…" : "") + decode(worst.index - before, before),
          .target = decode_one(tokenizer, ids[static_cast<size_t>(worst.index)]),
          .after = decode(worst.index + 1, after),
          .top = decode_one(tokenizer, worst.difference.top),
          .reference_top = decode_one(tokenizer, worst.difference.reference_top)};
}

Result<ReportedModel> described(const LoadedModel& loaded, const std::string& name) {
  TETRAD_ASSIGN(std::vector<ModelPart> parts, model_parts(*loaded.checkpoint));
  return ReportedModel{.name = as_utf8(name),
                       .kv_cache = std::string(dtype_name(loaded.kv_cache.dtype)),
                       .kernels = loaded.model->kernels(),
                       .parts = std::move(parts)};
}

Result<EvalReport> compare(const EvalFlags& flags) {
  TETRAD_ASSIGN(const ComparedModels models, load_both(flags));
  MiniMaxM2& model = *models.model->cpu_model;
  TETRAD_ASSIGN(const std::vector<EvalText> texts,
                encode_texts(flags, models.tokenizer(), model.config().vocab_size));
  TETRAD_TRY(check_tokenizers(flags, models, texts));
  std::vector<std::vector<int32_t>> ids;
  ids.reserve(texts.size());
  for (const EvalText& text : texts)
    ids.push_back(text.ids);

  EvalReport report;
  report.window = flags.window;
  report.texts = text_names(texts);
  TETRAD_ASSIGN(report.model, described(*models.model, flags.model.model));
  TETRAD_ASSIGN(report.reference, described(*models.reference, flags.against));
  TETRAD_ASSIGN(report.comparison,
                compare_models({model, models.model->kv_cache},
                               {*models.reference->cpu_model, models.reference->kv_cache}, ids,
                               {.window = flags.window}));
  for (const WorstPosition& worst : report.comparison.worst)
    report.worst.push_back(context_of(worst, texts[worst.text], models.tokenizer()));
  return report;
}

/// Before hours of computing: whether the result can be written at all.
Result<void> check_writable(std::string_view flag, const std::string& path) {
  if (path.empty()) return {};
  if (std::error_code ec; std::filesystem::is_directory(path, ec)) {
    return fail_param(flag, "{}: {} is a folder", flag, path);
  }
  auto file = PendingFile::create(path);
  if (!file) return tl::unexpected(std::move(file.error()).in(flag));
  return {};
}

Result<void> write_result(std::string_view flag, const std::string& path, std::string_view text) {
  auto written = write_text_file(path, text);
  if (!written) return tl::unexpected(std::move(written.error()).in(flag));
  return {};
}

Result<void> evaluate_against(const EvalFlags& flags) {
  TETRAD_TRY(check_observable(flags.model, "--against"));
  if (flags.json != "-") TETRAD_TRY(check_writable("--json", flags.json));
  if (flags.html == "-") return fail_param("--html", "--html: a file is needed, not \"-\"");
  TETRAD_TRY(check_writable("--html", flags.html));
  TETRAD_ASSIGN(const EvalReport report, compare(flags));
  const std::string json = to_json_text(comparison_to_json(report)) + "\n";
  if (flags.json == "-") {
    fmt::print("{}", json);
  } else {
    print_comparison(report);
  }
  if (!flags.json.empty() && flags.json != "-") {
    TETRAD_TRY(write_result("--json", flags.json, json));
  }
  if (!flags.html.empty()) {
    TETRAD_TRY(write_result("--html", flags.html, eval_report_html(report)));
  }
  return {};
}

}  // namespace

int run_eval_against(const EvalFlags& flags) {
  const auto done = evaluate_against(flags);
  return done ? kExitOk : report(done.error());
}

}  // namespace tetrad
