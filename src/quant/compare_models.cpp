#include "quant/compare_models.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <utility>

#include "model/sequence_runner.h"
#include "quant/perplexity.h"

namespace tetrad {
namespace {

constexpr int64_t kComparisonMemory = int64_t{512} << 20;

Result<void> check_same(std::string_view what, int64_t model, int64_t reference) {
  if (model == reference) return {};
  return fail_param("--against",
                    "the models cannot be compared: MODEL has {} {} and the reference {}", model,
                    what, reference);
}

Result<void> check_comparable(const ModelConfig& model, const ModelConfig& reference) {
  TETRAD_TRY(check_same("tokens in its vocabulary", model.vocab_size, reference.vocab_size));
  TETRAD_TRY(check_same("layers", model.num_hidden_layers, reference.num_hidden_layers));
  TETRAD_TRY(check_same("hidden dimensions", model.hidden_size, reference.hidden_size));
  TETRAD_TRY(
      check_same("experts in a layer", model.num_local_experts, reference.num_local_experts));
  return check_same("experts for a token", model.num_experts_per_tok,
                    reference.num_experts_per_tok);
}

Result<void> check_window(int64_t window, const ModelConfig& model, const ModelConfig& reference) {
  const int64_t longest =
      std::min(model.max_position_embeddings, reference.max_position_embeddings);
  if (window >= 2 && window <= longest) return {};
  return fail_param("--window", "the window must be between 2 and the models' {} positions",
                    longest);
}

int64_t default_tokens_at_once(const ModelConfig& config) {
  const int64_t logits = 2 * config.vocab_size * static_cast<int64_t>(sizeof(float));
  const int64_t bytes = logits + LayerComparer::bytes_per_token(config);
  return std::max<int64_t>(1, kComparisonMemory / bytes);
}

/// Keeps the `capacity` largest divergences; of equal ones, those that came first.
class WorstPositions {
 public:
  explicit WorstPositions(size_t capacity) : capacity_(capacity) {}

  void add(const WorstPosition& position) {
    const auto place =
        std::ranges::upper_bound(worst_, position.difference.kl, std::greater<>(),
                                 [](const WorstPosition& kept) { return kept.difference.kl; });
    if (place == worst_.end() && worst_.size() >= capacity_) return;
    worst_.insert(place, position);
    if (worst_.size() > capacity_) worst_.pop_back();
  }

  std::vector<WorstPosition> take() && { return std::move(worst_); }

 private:
  size_t capacity_;
  std::vector<WorstPosition> worst_;
};

class Comparer {
 public:
  static Result<Comparer> create(ComparedModel model, ComparedModel reference,
                                 const CompareOptions& options) {
    TETRAD_ASSIGN(SequenceRunner runner,
                  SequenceRunner::create(model.model, model.kv_cache, options.window));
    TETRAD_ASSIGN(SequenceRunner reference_runner,
                  SequenceRunner::create(reference.model, reference.kv_cache, options.window));
    Comparer comparer(std::move(runner), std::move(reference_runner), model.model.config(),
                      options);
    return comparer;
  }

  Result<void> add_text(std::span<const int32_t> ids) {
    const auto total = static_cast<int64_t>(ids.size());
    result_.texts.emplace_back();
    for (int64_t start = 0; start < total; start += window_)
      TETRAD_TRY(add_window(ids, start, std::min(total, start + window_)));
    return {};
  }

  ModelComparison finish() && {
    result_.layers.assign(layers_.layers().begin(), layers_.layers().end());
    result_.worst = std::move(worst_).take();
    return std::move(result_);
  }

 private:
  Comparer(SequenceRunner runner, SequenceRunner reference_runner, const ModelConfig& config,
           const CompareOptions& options)
      : runner_(std::move(runner)),
        reference_runner_(std::move(reference_runner)),
        window_(options.window),
        tokens_at_once_(options.tokens_at_once > 0 ? options.tokens_at_once
                                                   : default_tokens_at_once(config)),
        layers_(config),
        worst_(options.num_worst) {}

  Result<void> add_window(std::span<const int32_t> ids, int64_t start, int64_t end) {
    runner_.reset();
    reference_runner_.reset();
    for (int64_t begin = start; begin + 1 < end; begin += tokens_at_once_) {
      const int64_t count = std::min(tokens_at_once_, end - 1 - begin);
      const auto batch = ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
      const Observer record = layers_.record();
      TETRAD_ASSIGN(const Activations expected,
                    reference_runner_.append(batch, SequenceRunner::Logits::every_token, &record));
      const Observer compare = layers_.compare();
      TETRAD_ASSIGN(const Activations logits,
                    runner_.append(batch, SequenceRunner::Logits::every_token, &compare));
      for (int64_t i = 0; i < count; ++i) {
        TETRAD_TRY(add_position(ids, begin + i + 1, begin + i - start, expected.row_span(i),
                                logits.row_span(i)));
      }
    }
    return {};
  }

  /// `index` is of the token that is predicted.
  Result<void> add_position(std::span<const int32_t> ids, int64_t index, int64_t position,
                            std::span<const float> expected, std::span<const float> logits) {
    const DistributionDifference difference =
        compare_distributions(expected, logits, ids[static_cast<size_t>(index)]);
    if (!difference.is_finite()) {
      return fail(ErrorCode::corrupt_data,
                  "the logits for token {} of text {} are not finite: the weights of one of the "
                  "models are damaged; tetrad inspect says more",
                  index, result_.texts.size());
    }
    result_.texts.back().add(difference);
    result_.all.add(difference);
    const auto at = static_cast<size_t>(position);
    if (at >= result_.kl_by_position.size()) result_.kl_by_position.resize(at + 1);
    result_.kl_by_position[at].add(difference.kl);
    worst_.add({.text = result_.texts.size() - 1,
                .index = index,
                .position = position,
                .difference = difference});
    return {};
  }

  SequenceRunner runner_;
  SequenceRunner reference_runner_;
  int64_t window_;
  int64_t tokens_at_once_;
  LayerComparer layers_;
  WorstPositions worst_;
  ModelComparison result_;
};

}  // namespace

Result<ModelComparison> compare_models(ComparedModel model, ComparedModel reference,
                                       std::span<const std::vector<int32_t>> texts,
                                       const CompareOptions& options) {
  const ModelConfig& config = model.model.config();
  TETRAD_TRY(check_comparable(config, reference.model.config()));
  TETRAD_TRY(check_window(options.window, config, reference.model.config()));
  if (texts.empty()) return fail(ErrorCode::invalid_argument, "there is no text to compare on");
  for (const std::vector<int32_t>& ids : texts)
    TETRAD_TRY(check_evaluated_ids(ids, config.vocab_size));
  TETRAD_ASSIGN(Comparer comparer, Comparer::create(model, reference, options));
  for (const std::vector<int32_t>& ids : texts)
    TETRAD_TRY(comparer.add_text(ids));
  return std::move(comparer).finish();
}

}  // namespace tetrad
