#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "quant/quantizer.h"

namespace tetrad {

/// How far quantizing is, on stderr: on a terminal one line that is overwritten, with a bar, the
/// weights a second and the time that is left; elsewhere a line for each shard and now and then in
/// between.
class QuantizeProgressPrinter {
 public:
  QuantizeProgressPrinter();
  /// Leaves an empty line where the bar was.
  ~QuantizeProgressPrinter();
  QuantizeProgressPrinter(const QuantizeProgressPrinter&) = delete;
  QuantizeProgressPrinter& operator=(const QuantizeProgressPrinter&) = delete;

  void show(const QuantizeProgress& progress);

 private:
  using Clock = std::chrono::steady_clock;

  void show_bar(const QuantizeProgress& progress, double seconds) const;
  void print_line(const QuantizeProgress& progress, double seconds) const;

  const bool is_terminal_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
  int64_t last_shard_ = 0;
};

/// The line that overwrites itself, without its control characters, cut to `columns` ones (so that
/// it is never broken in two). `seconds`: since the run was begun or continued.
std::string quantize_bar(const QuantizeProgress& progress, double seconds, int columns);

/// "45 s", "12 min", "3 h 05 min".
std::string rough_duration(double seconds);

}  // namespace tetrad
