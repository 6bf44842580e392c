#include "bench/progress_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace tetrad::bench {
namespace {

constexpr int kMaxBarWidth = 40;
constexpr int kMinBarWidth = 10;

/// 0 to 1, of whichever end is nearer.
double fraction_done(const Progress& progress, const ProgressGoal& goal) {
  double fraction = 0;
  if (goal.num_requests && *goal.num_requests > 0) {
    fraction = static_cast<double>(progress.ended()) / static_cast<double>(*goal.num_requests);
  }
  if (goal.duration && *goal.duration > Seconds(0)) {
    fraction = std::max(fraction, progress.elapsed / *goal.duration);
  }
  return std::clamp(fraction, 0.0, 1.0);
}

}  // namespace

std::string progress_line(const Progress& progress, const ProgressGoal& goal, int columns) {
  const double seconds = std::max(progress.elapsed.count(), 1e-3);
  std::string counts = fmt::format(" {}", progress.ended());
  if (goal.num_requests) counts += fmt::format("/{}", *goal.num_requests);
  counts += fmt::format(", {} running, {} failed, {:.1f} events/s, {:.0f} s", progress.running,
                        progress.failed, static_cast<double>(progress.output_events) / seconds,
                        progress.elapsed.count());
  const int width = std::min(columns - static_cast<int>(counts.size()) - 2, kMaxBarWidth);
  if (width < kMinBarWidth) return counts.substr(1, std::max(columns, 0));
  const auto filled = static_cast<int>(std::lround(fraction_done(progress, goal) * width));
  return fmt::format("[{:#>{}}{:.>{}}]{}", "", filled, "", width - filled, counts);
}

}  // namespace tetrad::bench
