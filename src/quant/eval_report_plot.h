#pragma once

// Plots as inline SVG. Colours come from the page's style (classes series-1 … series-3), so that
// they follow light and dark mode.

#include <span>
#include <string>
#include <vector>

namespace tetrad {

/// Words of a plot. The id is unique on its page.
struct PlotText {
  std::string id;
  std::string title;
  std::string description;  // what it shows, for those who cannot see it
  std::string x_label;
  std::string y_label;
};

struct PlotSeries {
  std::string name;
  std::vector<double> y;  // one for each x; what is not finite is left out
};

struct LinePlot {
  PlotText text;
  std::vector<double> x;           // ascending, at least one
  std::vector<PlotSeries> series;  // one to three
  bool percent = false;            // y are shares
  bool whole_x = true;             // only whole numbers on the x axis
  double y_from = 0;
  double y_to = 0;  // 0: the largest value, rounded up
};

std::string line_plot(const LinePlot& plot);

/// A value at which a histogram has an upright line.
struct PlotMark {
  std::string name;
  double value = 0;
};

struct HistogramPlot {
  PlotText text;
  std::span<const double> ascending;  // not negative
  std::vector<PlotMark> marks;
};

/// Shares of the values in bins of a quarter of a decade; smaller ones than the first of eight
/// decades, and zeros, share its first bin.
std::string log_histogram_plot(const HistogramPlot& plot);

/// Steps of 1, 2 or 5 times a power of ten: at most `most` + 1 ticks from `from` to `to`.
std::vector<double> axis_ticks(double from, double to, int most);

}  // namespace tetrad
