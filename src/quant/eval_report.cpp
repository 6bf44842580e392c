#include "quant/eval_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/grouped_number.h"
#include "quant/eval_report_html.h"
#include "quant/eval_report_plot.h"
#include "quant/eval_report_style.h"

namespace tetrad {
namespace {

std::string mean_text(const MeanOf& mean) {
  return fmt::format("{} ± {:.2g}", short_number(mean.mean()), mean.standard_error());
}

std::string signed_mean_text(const MeanOf& mean) {
  return fmt::format("{:+.4g} ± {:.2g}", mean.mean(), mean.standard_error());
}

std::string report_cells(const std::vector<std::string>& cells) {
  std::string html;
  for (const std::string& cell : cells)
    html += fmt::format("<td>{}</td>", cell);
  return html;
}

std::string report_heads(const std::vector<std::string>& heads) {
  std::string html = "<thead><tr>";
  for (const std::string& head : heads)
    html += fmt::format("<th scope=\"col\">{}</th>", head);
  return html + "</tr></thead>\n";
}

/// Wide tables scroll in a box of their own, which the keyboard reaches.
std::string scrolling_table(std::string_view caption, const std::vector<std::string>& heads,
                            std::string_view rows) {
  return fmt::format(
      "<div class=\"scroll\" role=\"region\" aria-label=\"{0}\" tabindex=\"0\"><table>\n"
      "<caption>{0}</caption>\n{1}<tbody>\n{2}</tbody></table></div>\n",
      caption, report_heads(heads), rows);
}

std::string report_tile(std::string_view name, std::string_view value, std::string_view note) {
  return fmt::format("<div><dt>{}</dt><dd>{}</dd><dd class=\"note\">{}</dd></div>\n", name, value,
                     note);
}

std::string summary_tiles(const EvalReport& report) {
  const TextStatistics& all = report.comparison.all;
  const std::vector<double> kl = all.sorted_kl();
  const double perplexity = std::exp(all.nll.mean());
  const double reference = std::exp(all.reference_nll.mean());
  return "<dl class=\"tiles\">\n" +
         report_tile("Mean KL divergence", short_number(all.kl.mean()),
                     fmt::format("± {:.2g} nats a token", all.kl.standard_error())) +
         report_tile("99.9 % of KL below", short_number(quantile(kl, 0.999)),
                     fmt::format("largest {}", short_number(kl.back()))) +
         report_tile("Same likeliest token", percent_text(all.same_top.mean()),
                     fmt::format("± {}", percent_text(all.same_top.standard_error()))) +
         report_tile("Perplexity", short_number(perplexity),
                     fmt::format("the reference has {}", short_number(reference))) +
         "</dl>\n";
}

std::string part_row(const ModelPart& model, const ModelPart* reference) {
  const auto bits = [](const ModelPart& part) {
    return fmt::format("{:.3f}", part.bits_per_weight());
  };
  return fmt::format(
      "<tr{}><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td>"
      "<td>{}</td><td>{}</td></tr>\n",
      model.name == "all" ? " class=\"all\"" : "", html_text(model.name),
      grouped_number(model.parameters), html_text(model.formats), bits(model),
      reference == nullptr ? "" : html_text(reference->formats),
      reference == nullptr ? "" : bits(*reference));
}

std::string models_section(const EvalReport& report) {
  std::string rows;
  for (const ModelPart& part : report.model.parts) {
    const auto same = std::ranges::find(report.reference.parts, part.name, &ModelPart::name);
    rows += part_row(part, same == report.reference.parts.end() ? nullptr : &*same);
  }
  rows += fmt::format(
      "<tr><th scope=\"row\">KV cache</th><td></td><td>{}</td><td></td>"
      "<td>{}</td><td></td></tr>\n",
      html_text(report.model.kv_cache), html_text(report.reference.kv_cache));
  rows += fmt::format(
      "<tr><th scope=\"row\">Kernels</th><td></td><td>{}</td><td></td>"
      "<td>{}</td><td></td></tr>\n",
      html_text(report.model.kernels), html_text(report.reference.kernels));
  return "<section>\n<h2>The models</h2>\n" +
         scrolling_table("Formats of the weights, with their scales, in bits a weight",
                         {"part", "weights", "model", "bits", "reference", "bits"}, rows) +
         "</section>\n";
}

std::string text_row(std::string_view name, const TextStatistics& text, bool is_all) {
  const std::vector<double> kl = text.sorted_kl();
  return fmt::format(
      "<tr{}><th scope=\"row\">{}</th>{}</tr>\n", is_all ? " class=\"all\"" : "", html_text(name),
      report_cells({grouped_number(text.num_tokens()), mean_text(text.kl),
                    short_number(quantile(kl, 0.5)), short_number(quantile(kl, 0.99)),
                    short_number(quantile(kl, 0.999)), short_number(kl.back()),
                    percent_text(text.same_top.mean())}));
}

std::string nll_row(std::string_view name, const TextStatistics& text, bool is_all) {
  return fmt::format(
      "<tr{}><th scope=\"row\">{}</th>{}</tr>\n", is_all ? " class=\"all\"" : "", html_text(name),
      report_cells(
          {mean_text(text.reference_nll), mean_text(text.nll),
           signed_mean_text(text.nll_difference), short_number(std::exp(text.reference_nll.mean())),
           short_number(std::exp(text.nll.mean())), signed_mean_text(text.probability_difference),
           short_number(text.absolute_probability_difference.mean()),
           short_number(text.rms_probability_difference())}));
}

std::string texts_section(const EvalReport& report) {
  const ModelComparison& comparison = report.comparison;
  const auto rows = [&](const auto& row) {
    std::string html;
    for (size_t i = 0; i < comparison.texts.size(); ++i)
      html += row(report.texts[i], comparison.texts[i], false);
    return comparison.texts.size() == 1 ? html : html + row("all", comparison.all, true);
  };
  return "<section>\n<h2>The texts</h2>\n" +
         scrolling_table("KL divergence of the model from the reference, nats a token",
                         {"text", "tokens", "mean", "median", "99 %", "99.9 %", "largest",
                          "same likeliest token"},
                         rows(text_row)) +
         scrolling_table(
             "Negative log-likelihood (NLL), nats a token, and probability of the true "
             "token (p)",
             {"text", "NLL of reference", "NLL of model", "difference", "perplexity of reference",
              "perplexity of model", "mean Δp", "mean |Δp|", "RMS Δp"},
             rows(nll_row)) +
         "<p class=\"note\">± is one standard error of the mean, with the positions taken as "
         "independent.</p>\n</section>\n";
}

std::string figure_of(std::string_view title, const std::vector<PlotSeries>& legend,
                      std::string_view svg, std::string_view note) {
  std::string list;
  for (size_t i = 0; legend.size() > 1 && i < legend.size(); ++i) {
    list += fmt::format(
        "<li><svg class=\"series-{}\" viewBox=\"0 0 30 10\" aria-hidden=\"true\"><path "
        "class=\"line\" d=\"M0 5L30 5\"/></svg><span>{}</span></li>\n",
        i + 1, html_text(legend[i].name));
  }
  if (!list.empty()) list = fmt::format("<ul class=\"legend\">\n{}</ul>\n", list);
  return fmt::format(
      "<figure>\n<figcaption>{}</figcaption>\n{}{}<p class=\"note\">{}</p>\n</figure>\n", title,
      list, svg, note);
}

std::vector<double> layer_numbers(const ModelComparison& comparison) {
  std::vector<double> x;
  x.reserve(comparison.layers.size());
  for (size_t i = 0; i < comparison.layers.size(); ++i)
    x.push_back(static_cast<double>(i));
  return x;
}

std::string layer_error_figure(const ModelComparison& comparison) {
  LinePlot plot{.text = {.id = "layer-error",
                         .title = "Relative error of the layers' outputs",
                         .description = "One line each for what attention adds to the residual "
                                        "stream, for what the experts add, and for the stream "
                                        "behind the layer. The table of layers has the numbers.",
                         .x_label = "layer",
                         .y_label = "relative RMS error"},
                .x = layer_numbers(comparison),
                .percent = true};
  for (size_t output = 0; output < kComparedOutputs.size(); ++output) {
    PlotSeries series{.name = std::string(kComparedOutputs[output])};
    for (const LayerDifference& layer : comparison.layers)
      series.y.push_back(layer.outputs[output].relative());
    plot.series.push_back(std::move(series));
  }
  return figure_of("Error of the layers", plot.series, line_plot(plot),
                   "‖model − reference‖ / ‖reference‖ over all tokens; each model goes on with its "
                   "own outputs, so errors add up from layer to layer.");
}

std::string experts_figure(const ModelComparison& comparison) {
  LinePlot plot{.text = {.id = "experts",
                         .title = "Tokens with the same set of experts in both models",
                         .description = "One line over the layers. The table of layers has the "
                                        "numbers.",
                         .x_label = "layer",
                         .y_label = "tokens with the same experts"},
                .x = layer_numbers(comparison),
                .percent = true,
                .y_to = 1};
  PlotSeries series{.name = "same experts"};
  for (const LayerDifference& layer : comparison.layers)
    series.y.push_back(layer.share_of_same_experts());
  const double least = *std::ranges::min_element(series.y);
  plot.y_from = std::max(0.0, std::floor(least * 10 - 1e-9) / 10);
  plot.series.push_back(std::move(series));
  const std::string_view axis = plot.y_from > 0 ? " The axis does not begin at 0." : "";
  return figure_of("Routing", plot.series, line_plot(plot),
                   fmt::format("Share of tokens whose chosen experts are the same set.{}", axis));
}

std::string kl_figure(const ModelComparison& comparison) {
  const std::vector<double> kl = comparison.all.sorted_kl();
  const HistogramPlot plot{.text = {.id = "kl",
                                    .title = "How the KL divergences are distributed",
                                    .description = "Histogram over a logarithmic axis, with lines "
                                                   "at the mean and at three quantiles.",
                                    .x_label = "KL divergence, nats (logarithmic)",
                                    .y_label = "share of the tokens"},
                           .ascending = kl,
                           .marks = {{"median", quantile(kl, 0.5)},
                                     {"mean", comparison.all.kl.mean()},
                                     {"99 %", quantile(kl, 0.99)},
                                     {"99.9 %", quantile(kl, 0.999)}}};
  return figure_of("KL divergences", {}, log_histogram_plot(plot),
                   "Four bins a decade; smaller values than the axis shows are in its first bin.");
}

/// At most so many points: more would be a smear.
constexpr size_t kMostPositionPoints = 64;

std::string position_figure(const ModelComparison& comparison) {
  const size_t positions = comparison.kl_by_position.size();
  const size_t width = (positions + kMostPositionPoints - 1) / kMostPositionPoints;
  LinePlot plot{.text = {.id = "position",
                         .title = "Mean KL divergence over the position in the window",
                         .description = "One line; its points are means of neighbouring positions.",
                         .x_label = "position in the window",
                         .y_label = "mean KL, nats"}};
  PlotSeries series{.name = "mean KL"};
  for (size_t begin = 0; begin < positions; begin += width) {
    const size_t end = std::min(positions, begin + width);
    double sum = 0;
    int64_t count = 0;
    for (size_t i = begin; i < end; ++i) {
      const MeanOf& mean = comparison.kl_by_position[i];
      sum += mean.mean() * static_cast<double>(mean.count());
      count += mean.count();
    }
    plot.x.push_back(static_cast<double>(begin + end - 1) / 2);
    series.y.push_back(sum / static_cast<double>(count));
  }
  plot.series.push_back(std::move(series));
  return figure_of("KL over the context", plot.series, line_plot(plot),
                   width == 1 ? "Each point is the mean over all windows."
                              : fmt::format("Each point is the mean of {} positions over all "
                                            "windows.",
                                            width));
}

std::string layer_table(const ModelComparison& comparison) {
  std::string rows;
  for (size_t i = 0; i < comparison.layers.size(); ++i) {
    const LayerDifference& layer = comparison.layers[i];
    std::vector<std::string> cells;
    cells.reserve(layer.outputs.size() + 1);
    for (const SquaredError& output : layer.outputs)
      cells.push_back(percent_text(output.relative()));
    cells.push_back(percent_text(layer.share_of_same_experts()));
    rows += fmt::format("<tr><th scope=\"row\">{}</th>{}</tr>\n", i, report_cells(cells));
  }
  return "<details>\n<summary>The layers as a table</summary>\n" +
         scrolling_table("Relative RMS error and routing, by layer",
                         {"layer", "attn_out", "moe_out", "out", "same experts"}, rows) +
         "</details>\n";
}

std::string plots_section(const ModelComparison& comparison) {
  return "<section>\n<h2>Where it is lost</h2>\n<div class=\"plots\">\n" +
         layer_error_figure(comparison) + experts_figure(comparison) + kl_figure(comparison) +
         position_figure(comparison) + "</div>\n" + layer_table(comparison) + "</section>\n";
}

std::string likeliest(std::string_view who, std::string_view token, double probability) {
  return fmt::format("{} <span class=\"token\">{}</span> at {}", who, html_token(token),
                     percent_text(probability));
}

std::string worst_item(const EvalReport& report, size_t i) {
  const WorstPosition& position = report.comparison.worst[i];
  const ReportedContext& context = report.worst[i];
  const DistributionDifference& difference = position.difference;
  return fmt::format(
      "<li>\n<p><strong>KL {}</strong> · {}, token {}, position {} of its window</p>\n"
      "<p class=\"note\">Likeliest: {}; {}. The true token has {} of the reference and {} of the "
      "model.</p>\n<p class=\"text\">{}<mark>{}</mark>{}</p>\n</li>\n",
      short_number(difference.kl), html_text(report.texts[position.text]),
      grouped_number(position.index), grouped_number(position.position),
      likeliest("reference", context.reference_top, difference.reference_top_probability),
      likeliest("model", context.top, difference.top_probability),
      percent_text(std::exp(-difference.reference_nll)), percent_text(std::exp(-difference.nll)),
      html_text(context.before), html_token(context.target), html_text(context.after));
}

std::string worst_section(const EvalReport& report) {
  std::string items;
  for (size_t i = 0; i < report.comparison.worst.size(); ++i)
    items += worst_item(report, i);
  return fmt::format(
      "<section>\n<h2>The {} positions of the largest divergence</h2>\n"
      "<p class=\"note\">Marked is the token that was to be predicted from what stands before it. "
      "</p>\n<ol class=\"worst\">\n{}</ol>\n</section>\n",
      report.comparison.worst.size(), items);
}

std::string terms_section(const EvalReport& report) {
  return fmt::format(
      "<section>\n<h2>What the figures are</h2>\n<dl class=\"terms\">\n"
      "<dt>Positions</dt><dd>Each text is cut into consecutive windows of {} tokens, and each runs "
      "alone from position 0. Every position of a window counts but its last, whose next token "
      "the window does not have.</dd>\n"
      "<dt>KL divergence</dt><dd>Σ p (log p − log q) over the vocabulary, p of the reference and q "
      "of the model, in nats: what the model's prediction loses against the reference's, whatever "
      "the text says. 0 if they are equal.</dd>\n"
      "<dt>Same likeliest token</dt><dd>Share of positions at which both models find the same "
      "token "
      "likeliest.</dd>\n"
      "<dt>Δp</dt><dd>Probability of the true token in the model minus that in the "
      "reference.</dd>\n"
      "<dt>attn_out, moe_out, out</dt><dd>What attention and what the experts add to the residual "
      "stream, and the stream behind the layer.</dd>\n"
      "<dt>Arithmetic</dt><dd>The reference computes in float32 with a float32 KV cache, the model "
      "with the cache named above. Log-probabilities and sums are in double.</dd>\n"
      "</dl>\n</section>\n",
      grouped_number(report.window));
}

}  // namespace

std::string eval_report_html(const EvalReport& report) {
  const std::string title =
      html_text(report.model.name) + " against " + html_text(report.reference.name);
  return fmt::format(
             "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
             "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n<header>\n"
             "<h1>What quantization lost</h1>\n"
             "<p class=\"lead\"><code>{}</code> against the reference <code>{}</code>, "
             "{} predicted tokens of {} text{}</p>\n</header>\n",
             title, kEvalReportStyle, html_text(report.model.name),
             html_text(report.reference.name), grouped_number(report.comparison.all.num_tokens()),
             report.texts.size(), report.texts.size() == 1 ? "" : "s") +
         summary_tiles(report) + plots_section(report.comparison) + texts_section(report) +
         models_section(report) + worst_section(report) + terms_section(report) +
         "</main>\n</body>\n</html>\n";
}

}  // namespace tetrad
