#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "bench/answer_stream.h"

namespace tetrad::bench {

/// The latencies that a request may take at most to count as good; what is not set is not asked
/// for.
struct ServiceLevel {
  std::optional<Seconds> ttft;
  std::optional<Seconds> tpot;  // a request of one output token has none, and meets any
  std::optional<Seconds> e2el;

  bool is_asked_for() const { return ttft || tpot || e2el; }
  bool is_met_by(const RequestRecord& record) const;
};

/// From "ttft:500", "tpot:50", "e2el:2000": milliseconds. Errors name --goodput and the word.
Result<ServiceLevel> parse_service_level(const std::vector<std::string>& words);

}  // namespace tetrad::bench
