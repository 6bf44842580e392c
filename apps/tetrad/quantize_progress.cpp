#include "quantize_progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/percent.h"
#include "cli_io.h"

namespace tetrad {
namespace {

constexpr int kBarColumns = 24;
constexpr std::chrono::milliseconds kBarInterval{100};
constexpr std::chrono::seconds kLineInterval{2};

/// Of this run: what an earlier one has made says nothing about its speed.
double weights_a_second(const QuantizeProgress& progress, double seconds) {
  const auto made = static_cast<double>(progress.parameters - progress.resumed_parameters);
  return seconds > 0 ? made / seconds : 0;
}

}  // namespace

std::string rough_duration(double seconds) {
  const int64_t whole = std::llround(seconds);
  if (whole < 100) return fmt::format("{} s", whole);
  const int64_t minutes = (whole + 30) / 60;
  if (minutes < 100) return fmt::format("{} min", minutes);
  return fmt::format("{} h {:02} min", minutes / 60, minutes % 60);
}

std::string quantize_bar(const QuantizeProgress& progress, double seconds, int columns) {
  const double share = percent(progress.parameters, progress.total_parameters);
  const int filled = static_cast<int>(share / 100 * kBarColumns);
  const double rate = weights_a_second(progress, seconds);
  const auto left = static_cast<double>(progress.total_parameters - progress.parameters);
  std::string line = fmt::format("[{:#<{}}{:.<{}}] {:5.1f} %  {:.1f} M weights/s  ", "", filled, "",
                                 kBarColumns - filled, share, rate / 1e6);
  if (rate > 0) line += fmt::format("{} left  ", rough_duration(left / rate));
  line += fmt::format("shard {} of {}  {}", progress.shard, progress.num_shards, progress.module);
  line.resize(std::min(line.size(), static_cast<size_t>(std::max(columns, 0))));
  return line;
}

QuantizeProgressPrinter::QuantizeProgressPrinter() : is_terminal_(isatty(STDERR_FILENO) == 1) {}

QuantizeProgressPrinter::~QuantizeProgressPrinter() {
  if (is_terminal_) fmt::print(stderr, "\r\x1b[K");
}

void QuantizeProgressPrinter::show(const QuantizeProgress& progress) {
  const Clock::time_point now = Clock::now();
  const bool done = progress.modules == progress.total_modules;
  const bool new_shard = !is_terminal_ && progress.shard != last_shard_;
  const Clock::duration interval =
      is_terminal_ ? Clock::duration(kBarInterval) : Clock::duration(kLineInterval);
  if (!done && !new_shard && now - last_ < interval) return;
  last_shard_ = progress.shard;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  is_terminal_ ? show_bar(progress, seconds) : print_line(progress, seconds);
}

void QuantizeProgressPrinter::show_bar(const QuantizeProgress& progress, double seconds) const {
  fmt::print(stderr, "\r\x1b[K{}", quantize_bar(progress, seconds, terminal_columns()));
  std::fflush(stderr);
}

void QuantizeProgressPrinter::print_line(const QuantizeProgress& progress, double seconds) const {
  fmt::print(stderr, "{:5.1f} %  {:7.0f} s  shard {} of {}  {}\n",
             percent(progress.parameters, progress.total_parameters), seconds, progress.shard,
             progress.num_shards, progress.module);
}

}  // namespace tetrad
