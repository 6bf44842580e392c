#pragma once

// What connects the GPUs of one replica, as far as a forecast needs it.

#include <optional>
#include <span>
#include <string_view>

namespace tetrad::plan {

struct Interconnect {
  /// What one collective takes however little it carries, launch included.
  std::optional<double> latency_seconds;
  /// What one GPU sends at a time, in one direction.
  std::optional<double> bytes_per_second;

  std::optional<double> seconds(double bytes_sent) const;
};

/// A kind of connection whose figures are known; docs/plan.md has their sources.
struct KnownInterconnect {
  std::string_view name;
  double latency_seconds = 0;
  double bytes_per_second = 0;
};

std::span<const KnownInterconnect> known_interconnects();

}  // namespace tetrad::plan
