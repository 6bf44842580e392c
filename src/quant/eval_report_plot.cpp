#include "quant/eval_report_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/grouped_number.h"
#include "quant/eval_report_html.h"

namespace tetrad {
namespace {

// Small units, so that the words stay readable where a page is as wide as a phone.
constexpr double kPlotWidth = 480;
constexpr double kPlotHeight = 280;
constexpr double kPlotLeft = 58;
constexpr double kPlotRight = 14;
constexpr double kPlotTop = 26;
constexpr double kPlotBottom = 44;

/// From values to places in the drawing.
struct PlotFrame {
  double x_from = 0, x_to = 1, y_from = 0, y_to = 1;

  double x(double value) const {
    const double width = kPlotWidth - kPlotLeft - kPlotRight;
    return kPlotLeft + width * (x_to == x_from ? 0.5 : (value - x_from) / (x_to - x_from));
  }
  double y(double value) const {
    const double height = kPlotHeight - kPlotTop - kPlotBottom;
    return kPlotHeight - kPlotBottom - height * (value - y_from) / (y_to - y_from);
  }
};

std::string tick_text(double value, bool percent) {
  return percent ? fmt::format("{:.4g} %", 100 * value) : fmt::format("{:.4g}", value);
}

std::string plot_head(const PlotText& text) {
  return fmt::format(
      "<svg viewBox=\"0 0 {0:g} {1:g}\" role=\"img\" aria-labelledby=\"{2}-title {2}-desc\">\n"
      "<title id=\"{2}-title\">{3}</title>\n<desc id=\"{2}-desc\">{4}</desc>\n",
      kPlotWidth, kPlotHeight, html_text(text.id), html_text(text.title),
      html_text(text.description));
}

std::string axis_labels(const PlotText& text) {
  return fmt::format(
      "<text class=\"label\" x=\"4\" y=\"14\">{}</text>\n"
      "<text class=\"label\" text-anchor=\"middle\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
      html_text(text.y_label), (kPlotLeft + kPlotWidth - kPlotRight) / 2, kPlotHeight - 8,
      html_text(text.x_label));
}

std::string y_axis(const PlotFrame& frame, bool percent) {
  std::string svg;
  for (const double tick : axis_ticks(frame.y_from, frame.y_to, 5)) {
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{0:.1f}\" x2=\"{1:.1f}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/>"
        "<text class=\"tick\" text-anchor=\"end\" x=\"{3:.1f}\" y=\"{4:.1f}\">{5}</text>\n",
        kPlotLeft, kPlotWidth - kPlotRight, frame.y(tick), kPlotLeft - 6, frame.y(tick) + 4,
        tick_text(tick, percent));
  }
  return svg;
}

std::string x_tick(double at, std::string_view text) {
  return fmt::format(
      "<line class=\"axis\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\"/>"
      "<text class=\"tick\" text-anchor=\"middle\" x=\"{0:.1f}\" y=\"{3:.1f}\">{4}</text>\n",
      at, kPlotHeight - kPlotBottom, kPlotHeight - kPlotBottom + 4, kPlotHeight - kPlotBottom + 17,
      text);
}

std::string x_axis_line() {
  return fmt::format(
      "<line class=\"axis\" x1=\"{0:.1f}\" x2=\"{1:.1f}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/>\n",
      kPlotLeft, kPlotWidth - kPlotRight, kPlotHeight - kPlotBottom);
}

/// One polyline for each run of finite values.
std::string series_line(const LinePlot& plot, const PlotSeries& series, const PlotFrame& frame) {
  std::string path;
  bool pen_down = false;
  for (size_t i = 0; i < plot.x.size(); ++i) {
    if (!std::isfinite(series.y[i])) {
      pen_down = false;
      continue;
    }
    path += fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M", frame.x(plot.x[i]),
                        frame.y(series.y[i]));
    pen_down = true;
  }
  return fmt::format("<path class=\"line\" d=\"{}\"/>\n", path);
}

/// Dots say their values under a pointer.
std::string series_dots(const LinePlot& plot, const PlotSeries& series, const PlotFrame& frame) {
  std::string svg;
  const double radius = plot.x.size() > 40 ? 2 : 3;
  for (size_t i = 0; i < plot.x.size(); ++i) {
    if (!std::isfinite(series.y[i])) continue;
    svg += fmt::format(
        "<circle class=\"dot\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\">"
        "<title>{}, {} {:g}: {}</title></circle>\n",
        frame.x(plot.x[i]), frame.y(series.y[i]), radius, html_text(series.name),
        html_text(plot.text.x_label), plot.x[i],
        plot.percent ? percent_text(series.y[i]) : short_number(series.y[i]));
  }
  return svg;
}

double largest_value(const LinePlot& plot) {
  double largest = 0;
  for (const PlotSeries& series : plot.series) {
    for (const double y : series.y) {
      if (std::isfinite(y)) largest = std::max(largest, y);
    }
  }
  return largest;
}

/// The step of axis_ticks.
double tick_step(double from, double to, int most) {
  const double rough = (to - from) / most;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

/// The end of an axis from `from` on which `largest` has its place.
double rounded_up(double from, double largest) {
  if (!(largest > from)) return from + 1;
  const double step = tick_step(from, largest, 5);
  return from + step * std::ceil((largest - from) / step - 1e-9);
}

/// How much higher than its bars a histogram is, for the words of four marks.
constexpr double kMarkRoom = 1.45;

constexpr int kBinsPerDecade = 4;
constexpr int kDecades = 8;
constexpr int kNumBins = kBinsPerDecade * kDecades;

/// Counts of the bins that end below `last_decade`.
std::vector<int64_t> count_bins(std::span<const double> values, int last_decade) {
  std::vector<int64_t> counts(kNumBins);
  for (const double value : values) {
    const double bin =
        value > 0 ? std::floor((std::log10(value) - last_decade + kDecades) * kBinsPerDecade) : 0;
    ++counts[static_cast<size_t>(std::clamp(bin, 0.0, kNumBins - 1.0))];
  }
  return counts;
}

std::string power_of_ten(int exponent) {
  return fmt::format("10<tspan class=\"power\" dy=\"-4\">{}{}</tspan>", exponent < 0 ? "−" : "",
                     std::abs(exponent));
}

std::string histogram_bars(std::span<const int64_t> counts, double total, const PlotFrame& frame,
                           int first_decade) {
  std::string svg;
  for (size_t bin = 0; bin < counts.size(); ++bin) {
    if (counts[bin] == 0) continue;
    const double from = first_decade + static_cast<double>(bin) / kBinsPerDecade;
    const double left = frame.x(from) + 0.75;
    const double share = static_cast<double>(counts[bin]) / total;
    svg += fmt::format(
        "<rect class=\"bar\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\">"
        "<title>{} {:.2g}: {} of the tokens ({})</title></rect>\n",
        left, frame.y(share), frame.x(from + 1.0 / kBinsPerDecade) - 0.75 - left,
        frame.y(0) - frame.y(share), bin == 0 ? "below" : "from",
        std::pow(10.0, bin == 0 ? from + 1.0 / kBinsPerDecade : from), percent_text(share),
        grouped_number(counts[bin]));
  }
  return svg;
}

/// Words stand beside the tops of their lines, one below the other, all on the side where there is
/// room. A line begins below the words that reach over its place: those of farther lines if words
/// are to the left, those of nearer ones if they are to the right.
std::string histogram_marks(std::vector<PlotMark> marks, const PlotFrame& frame) {
  std::ranges::sort(marks, {}, &PlotMark::value);
  const auto place = [&frame](const PlotMark& mark) {
    const double value = mark.value > 0 ? std::log10(mark.value) : frame.x_from;
    return frame.x(std::clamp(value, frame.x_from, frame.x_to));
  };
  const bool to_the_left = !marks.empty() && place(marks.back()) > kPlotWidth * 0.6;
  if (to_the_left) std::ranges::reverse(marks);
  std::string svg;
  double text_y = kPlotTop + 10;
  for (const PlotMark& mark : marks) {
    const double at = place(mark);
    svg += fmt::format(
        "<line class=\"mark\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\"/>"
        "<text class=\"tick\" text-anchor=\"{3}\" x=\"{4:.1f}\" y=\"{5:.1f}\">{6} {7}</text>\n",
        at, text_y - 9, kPlotHeight - kPlotBottom, to_the_left ? "end" : "start",
        at + (to_the_left ? -5 : 5), text_y, html_text(mark.name), short_number(mark.value));
    text_y += 15;
  }
  return svg;
}

}  // namespace

std::vector<double> axis_ticks(double from, double to, int most) {
  std::vector<double> ticks;
  const double step = tick_step(from, to, most);
  // Counted, not summed: no rounding adds up.
  for (int64_t i = std::llround(std::ceil(from / step - 1e-9));
       static_cast<double>(i) * step <= to + 1e-9 * step; ++i)
    ticks.push_back(static_cast<double>(i) * step);
  return ticks;
}

std::string line_plot(const LinePlot& plot) {
  PlotFrame frame{.x_from = plot.x.front(), .x_to = plot.x.back(), .y_from = plot.y_from};
  frame.y_to = plot.y_to > plot.y_from ? plot.y_to : rounded_up(plot.y_from, largest_value(plot));
  std::string svg = plot_head(plot.text) + y_axis(frame, plot.percent) + x_axis_line();
  if (frame.x_to == frame.x_from) {
    svg += x_tick(frame.x(frame.x_from), fmt::format("{:g}", frame.x_from));
  } else {
    for (const double tick : axis_ticks(frame.x_from, frame.x_to, 8)) {
      if (plot.whole_x && tick != std::floor(tick)) continue;
      svg += x_tick(frame.x(tick), fmt::format("{:g}", tick));
    }
  }
  for (size_t i = 0; i < plot.series.size(); ++i) {
    svg += fmt::format("<g class=\"series-{}\">\n{}{}</g>\n", i + 1,
                       series_line(plot, plot.series[i], frame),
                       series_dots(plot, plot.series[i], frame));
  }
  return svg + axis_labels(plot.text) + "</svg>\n";
}

std::string log_histogram_plot(const HistogramPlot& plot) {
  const double largest = plot.ascending.empty() ? 0 : plot.ascending.back();
  const int last_decade = largest > 0 ? static_cast<int>(std::floor(std::log10(largest))) + 1 : 0;
  const int first_decade = last_decade - kDecades;
  const std::vector<int64_t> counts = count_bins(plot.ascending, last_decade);
  const auto total = static_cast<double>(std::max<size_t>(1, plot.ascending.size()));
  const double tallest = static_cast<double>(std::ranges::max(counts)) / total;
  const PlotFrame frame{.x_from = static_cast<double>(first_decade),
                        .x_to = static_cast<double>(last_decade),
                        .y_from = 0,
                        .y_to = rounded_up(0, tallest * (plot.marks.empty() ? 1 : kMarkRoom))};
  std::string svg = plot_head(plot.text) + y_axis(frame, true) + x_axis_line();
  for (int decade = first_decade; decade <= last_decade; ++decade)
    svg += x_tick(frame.x(decade), power_of_ten(decade));
  svg += fmt::format("<g class=\"series-1\">\n{}</g>\n",
                     histogram_bars(counts, total, frame, first_decade));
  return svg + histogram_marks(plot.marks, frame) + axis_labels(plot.text) + "</svg>\n";
}

}  // namespace tetrad
