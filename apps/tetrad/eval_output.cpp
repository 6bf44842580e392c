#include "eval_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/grouped_number.h"
#include "quant/eval_report_html.h"

namespace tetrad {
namespace {

double bits_per_weight(const ReportedModel& model) {
  return model.parts.empty() ? 0.0 : model.parts.back().bits_per_weight();
}

void print_model(std::string_view role, const ReportedModel& model) {
  fmt::print("{:<10} {}: {:.3f} bits a weight, KV cache {}, kernels {}\n", role, model.name,
             bits_per_weight(model), model.kv_cache, model.kernels);
}

/// Calls row(name, statistics) for each text, and for all if there are several.
template <class Row>
void for_each_text(const EvalReport& report, const Row& row) {
  const ModelComparison& comparison = report.comparison;
  for (size_t i = 0; i < comparison.texts.size(); ++i)
    row(report.texts[i], comparison.texts[i]);
  if (comparison.texts.size() > 1) row(std::string("all"), comparison.all);
}

void print_predictions(const EvalReport& report, size_t width) {
  fmt::print("\n{:<{}} {:>9} {:>10} {:>10} {:>22} {:>12} {:>12}\n", "NLL, nats a token", width,
             "tokens", "reference", "model", "difference", "perplexity", "reference's");
  for_each_text(report, [width](std::string_view name, const TextStatistics& text) {
    fmt::print("{:<{}} {:>9} {:>10.5f} {:>10.5f} {:>+11.5f} ± {:<8.5f} {:>12.4f} {:>12.4f}\n", name,
               width, grouped_number(text.num_tokens()), text.reference_nll.mean(), text.nll.mean(),
               text.nll_difference.mean(), text.nll_difference.standard_error(),
               std::exp(text.nll.mean()), std::exp(text.reference_nll.mean()));
  });
}

void print_divergences(const EvalReport& report, size_t width) {
  fmt::print("\n{:<{}} {:>19} {:>10} {:>10} {:>10} {:>10}\n", "KL, nats a token", width, "mean",
             "median", "99 %", "99.9 %", "largest");
  for_each_text(report, [width](std::string_view name, const TextStatistics& text) {
    const std::vector<double> kl = text.sorted_kl();
    fmt::print("{:<{}} {:>9.6f} ± {:.5f} {:>10.6f} {:>10.5f} {:>10.4f} {:>10.4f}\n", name, width,
               text.kl.mean(), text.kl.standard_error(), quantile(kl, 0.5), quantile(kl, 0.99),
               quantile(kl, 0.999), kl.back());
  });
}

void print_agreement(const EvalReport& report, size_t width) {
  fmt::print("\n{:<{}} {:>18} {:>22} {:>10} {:>10}\n", "agreement", width, "same top token",
             "mean Δp", "mean |Δp|", "RMS Δp");
  for_each_text(report, [width](std::string_view name, const TextStatistics& text) {
    fmt::print("{:<{}} {:>8.2f} ± {:.2f} % {:>+10.3f} ± {:.3f} % {:>8.3f} % {:>8.3f} %\n", name,
               width, 100 * text.same_top.mean(), 100 * text.same_top.standard_error(),
               100 * text.probability_difference.mean(),
               100 * text.probability_difference.standard_error(),
               100 * text.absolute_probability_difference.mean(),
               100 * text.rms_probability_difference());
  });
}

void print_layers(const ModelComparison& comparison) {
  fmt::print("\n{:<6} {:>10} {:>10} {:>10} {:>14}\n", "layer", "attn_out", "moe_out", "out",
             "same experts");
  for (size_t i = 0; i < comparison.layers.size(); ++i) {
    const LayerDifference& layer = comparison.layers[i];
    fmt::print("{:<6} {:>10} {:>10} {:>10} {:>14}\n", i, percent_text(layer.outputs[0].relative()),
               percent_text(layer.outputs[1].relative()), percent_text(layer.outputs[2].relative()),
               percent_text(layer.share_of_same_experts()));
  }
  fmt::print("relative RMS error of the outputs; same experts: of the tokens\n");
}

json::object mean_to_json(const MeanOf& mean) {
  return {{"mean", mean.mean()}, {"standard_error", mean.standard_error()}};
}

json::object statistics_to_json(const TextStatistics& text) {
  const std::vector<double> kl = text.sorted_kl();
  json::object divergence = mean_to_json(text.kl);
  divergence["median"] = quantile(kl, 0.5);
  divergence["quantile_99"] = quantile(kl, 0.99);
  divergence["quantile_99_9"] = quantile(kl, 0.999);
  divergence["largest"] = kl.back();
  json::object probability = mean_to_json(text.probability_difference);
  probability["mean_absolute"] = text.absolute_probability_difference.mean();
  probability["rms"] = text.rms_probability_difference();
  return {{"tokens", text.num_tokens()},
          {"nll", mean_to_json(text.nll)},
          {"reference_nll", mean_to_json(text.reference_nll)},
          {"nll_difference", mean_to_json(text.nll_difference)},
          {"perplexity", std::exp(text.nll.mean())},
          {"reference_perplexity", std::exp(text.reference_nll.mean())},
          {"kl", std::move(divergence)},
          {"same_top_token", mean_to_json(text.same_top)},
          {"probability_difference", std::move(probability)}};
}

json::object model_to_json(const ReportedModel& model) {
  json::array parts;
  for (const ModelPart& part : model.parts) {
    parts.push_back(json::object{{"part", part.name},
                                 {"formats", part.formats},
                                 {"parameters", part.parameters},
                                 {"bytes", part.bytes},
                                 {"bits_per_weight", part.bits_per_weight()}});
  }
  return {{"folder", model.name},
          {"kv_cache_dtype", model.kv_cache},
          {"kernels", model.kernels},
          {"bits_per_weight", bits_per_weight(model)},
          {"parts", std::move(parts)}};
}

/// JSON has no infinity.
json::value finite_or_null(double value) {
  return std::isfinite(value) ? json::value(value) : json::value(nullptr);
}

json::array layers_to_json(const ModelComparison& comparison) {
  json::array layers;
  for (size_t i = 0; i < comparison.layers.size(); ++i) {
    json::object layer{{"layer", i}};
    for (size_t output = 0; output < kComparedOutputs.size(); ++output) {
      layer[kComparedOutputs[output]] =
          finite_or_null(comparison.layers[i].outputs[output].relative());
    }
    layer["same_experts"] = comparison.layers[i].share_of_same_experts();
    layers.push_back(std::move(layer));
  }
  return layers;
}

json::array worst_to_json(const EvalReport& report) {
  json::array list;
  for (size_t i = 0; i < report.comparison.worst.size(); ++i) {
    const WorstPosition& worst = report.comparison.worst[i];
    const ReportedContext& context = report.worst[i];
    const DistributionDifference& difference = worst.difference;
    list.push_back(
        json::object{{"text", report.texts[worst.text]},
                     {"index", worst.index},
                     {"position", worst.position},
                     {"kl", difference.kl},
                     {"nll", difference.nll},
                     {"reference_nll", difference.reference_nll},
                     {"before", context.before},
                     {"token", context.target},
                     {"top_token", context.top},
                     {"top_probability", difference.top_probability},
                     {"reference_top_token", context.reference_top},
                     {"reference_top_probability", difference.reference_top_probability}});
  }
  return list;
}

}  // namespace

void print_comparison(const EvalReport& report) {
  print_model("model", report.model);
  print_model("reference", report.reference);
  size_t width = std::string_view("NLL, nats a token").size();
  for (const std::string& name : report.texts)
    width = std::max(width, name.size());
  print_predictions(report, width);
  print_divergences(report, width);
  print_agreement(report, width);
  print_layers(report.comparison);
}

json::object comparison_to_json(const EvalReport& report) {
  json::array texts;
  for (size_t i = 0; i < report.texts.size(); ++i) {
    json::object text{{"text", report.texts[i]}};
    for (auto& [key, value] : statistics_to_json(report.comparison.texts[i]))
      text[key] = std::move(value);
    texts.push_back(std::move(text));
  }
  return {{"model", model_to_json(report.model)},
          {"reference", model_to_json(report.reference)},
          {"window", report.window},
          {"texts", std::move(texts)},
          {"all", statistics_to_json(report.comparison.all)},
          {"layers", layers_to_json(report.comparison)},
          {"worst", worst_to_json(report)}};
}

}  // namespace tetrad
