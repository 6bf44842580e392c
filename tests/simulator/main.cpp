// The engine with a fake model, a virtual clock and much bad luck:
//   engine_simulator [--steps N] [--seed S] [--scenario-steps N]
// Every scenario has a seed of its own; a failure prints the command that repeats it.

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <exception>
#include <string_view>

#include "scenario.h"

int main(int argc, char** argv) {
  int64_t steps = 200000;
  int64_t scenario_steps = 2000;
  uint64_t seed = 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view flag = argv[i];
    const long long value = std::atoll(argv[i + 1]);
    if (flag == "--steps") steps = value;
    if (flag == "--scenario-steps") scenario_steps = value;
    if (flag == "--seed") seed = static_cast<uint64_t>(value);
  }
  spdlog::set_level(spdlog::level::off);  // injected failures are no news
  const auto tokenizer =
      tetrad::Tokenizer::from_file(TETRAD_SOURCE_DIR "/models/tetrad-demo-mxfp4_16/tokenizer.json");
  if (!tokenizer) {
    fmt::print(stderr, "{}\n", tokenizer.error().message);
    return 2;
  }
  tetrad::simulator::Totals totals;
  for (; totals.steps < steps; ++seed) {
    try {
      totals += tetrad::simulator::run_scenario(seed, scenario_steps, *tokenizer);
    } catch (const std::exception& error) {
      fmt::print(stderr, "{}\nrepeat it: {} --seed {} --scenario-steps {} --steps 1\n",
                 error.what(), argv[0], seed, scenario_steps);
      return 1;
    }
  }
  fmt::print(
      "{} steps, {} requests, {} tokens, {} preemptions, {} cancelled, {} paused, {} failed, {} "
      "prompt tokens "
      "from the cache, {} draft tokens accepted, longest wait {} steps: no fault\n",
      totals.steps, totals.requests, totals.tokens, totals.preemptions, totals.cancelled,
      totals.pauses, totals.failed, totals.cached_tokens, totals.accepted_drafts,
      totals.longest_wait);
  return 0;
}
