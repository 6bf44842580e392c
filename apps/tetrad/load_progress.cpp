#include "load_progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/log.h"
#include "base/percent.h"
#include "cli_io.h"
#include "quantize_progress.h"

namespace tetrad {
namespace {

constexpr int kLoadBarColumns = 24;
constexpr std::chrono::milliseconds kLoadBarInterval{100};
constexpr std::chrono::seconds kLoadLineInterval{5};

double gigabytes(int64_t bytes) {
  return static_cast<double>(bytes) / 1e9;
}

double gigabytes_a_second(int64_t bytes, double seconds) {
  return seconds > 0 ? gigabytes(bytes) / seconds : 0;
}

}  // namespace

std::string load_bar(int64_t done, int64_t total, double seconds, int columns) {
  const double share = percent(done, total);
  const int filled = static_cast<int>(share / 100 * kLoadBarColumns);
  const double rate = gigabytes_a_second(done, seconds);
  std::string line =
      fmt::format("[{:#<{}}{:.<{}}] {:5.1f} %  {:.1f} of {:.1f} GB  {:.2f} GB/s", "", filled, "",
                  kLoadBarColumns - filled, share, gigabytes(done), gigabytes(total), rate);
  if (rate > 0) line += fmt::format("  {} left", rough_duration(gigabytes(total - done) / rate));
  line.resize(std::min(line.size(), static_cast<size_t>(std::max(columns, 0))));
  return line;
}

LoadProgressPrinter::LoadProgressPrinter() : is_terminal_(isatty(STDERR_FILENO) == 1) {}

LoadProgressPrinter::~LoadProgressPrinter() {
  clear_bar();
}

void LoadProgressPrinter::show(int64_t done, int64_t total) {
  total_ = total;
  const Clock::time_point now = Clock::now();
  const Clock::duration interval =
      is_terminal_ ? Clock::duration(kLoadBarInterval) : Clock::duration(kLoadLineInterval);
  if (now - last_ < interval) return;
  last_ = now;
  if (!is_terminal_) {
    log::info("loading weights: {:.1f} of {:.1f} GB, {:.2f} GB/s", gigabytes(done),
              gigabytes(total), gigabytes_a_second(done, seconds()));
    return;
  }
  has_bar_ = true;
  fmt::print(stderr, "\r\x1b[K{}", load_bar(done, total, seconds(), terminal_columns()));
  std::fflush(stderr);
}

void LoadProgressPrinter::finish() {
  clear_bar();
  log::info("loaded {:.2f} GB of weights in {:.1f} s, {:.2f} GB/s", gigabytes(total_), seconds(),
            gigabytes_a_second(total_, seconds()));
}

double LoadProgressPrinter::seconds() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

void LoadProgressPrinter::clear_bar() {
  if (std::exchange(has_bar_, false)) fmt::print(stderr, "\r\x1b[K");
}

}  // namespace tetrad
