#pragma once

#include <chrono>

namespace tetrad {

using Seconds = std::chrono::duration<double>;

/// Where time comes from: the machine, or a simulator.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Time since some fixed moment; never runs backwards.
  virtual Seconds now() const = 0;
};

class SteadyClock final : public Clock {
 public:
  Seconds now() const override { return std::chrono::steady_clock::now().time_since_epoch(); }
};

}  // namespace tetrad
