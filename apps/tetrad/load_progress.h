#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace tetrad {

/// How far the weights' way to a GPU is, on stderr: on a terminal one line that is overwritten,
/// elsewhere now and then a line of the log; at the end what it took.
class LoadProgressPrinter {
 public:
  LoadProgressPrinter();
  /// Leaves an empty line where the bar was.
  ~LoadProgressPrinter();
  LoadProgressPrinter(const LoadProgressPrinter&) = delete;
  LoadProgressPrinter& operator=(const LoadProgressPrinter&) = delete;

  /// Bytes.
  void show(int64_t done, int64_t total);
  /// When all is there.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  double seconds() const;
  void clear_bar();

  const bool is_terminal_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
  int64_t total_ = 0;
  bool has_bar_ = false;
};

/// "[####....]  50.0 %  72.4 of 144.8 GB  4.1 GB/s  18 s left", cut to `columns`.
std::string load_bar(int64_t done, int64_t total, double seconds, int columns);

}  // namespace tetrad
