#pragma once

#include <cstdint>

#include "text/tokenizer.h"

namespace tetrad::simulator {

struct Totals {
  int64_t steps = 0;
  int64_t requests = 0;
  int64_t tokens = 0;
  int64_t preemptions = 0;
  int64_t cancelled = 0;
  int64_t pauses = 0;
  int64_t failed = 0;
  int64_t cached_tokens = 0;
  int64_t accepted_drafts = 0;
  int64_t longest_wait = 0;  // steps

  Totals& operator+=(const Totals& other);
};

/// One engine, its size, its load and its troubles all drawn from `seed`, for about `num_steps`
/// steps and until it has drained. Throws std::logic_error with what is wrong.
Totals run_scenario(uint64_t seed, int64_t num_steps, const Tokenizer& tokenizer);

}  // namespace tetrad::simulator
