// tetrad selftest: does this machine's GPU compute what it should?

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "cli_io.h"
#include "gpu_device_flag.h"
#include "model/gpu_selftest.h"
#include "verbs.h"

namespace tetrad {
namespace {

struct SelftestCase {
  const char* what;
  GpuSelftestOptions options;
};

/// Small on the emulation, which takes a second for a few tokens.
std::vector<SelftestCase> selftest_cases(bool is_emulated) {
  const SyntheticShape small{.layers = 2,
                             .experts = 16,
                             .vocab = 512,
                             .hidden = 384,
                             .intermediate = 128,
                             .heads = 8,
                             .kv_heads = 4,
                             .head_dim = 64,
                             .experts_per_token = 4};
  if (is_emulated) {
    SyntheticShape tiny = small;
    tiny.layers = 1;
    return {{"the demo model's shapes, one layer",
             {.shape = tiny, .num_tokens = 40, .chunk = 21, .decodes = 4}}};
  }
  return {{"the demo model's shapes", {.shape = small}},
          {"MiniMax-M2.7's shapes, 2 layers of 32 experts",
           {.shape = {.layers = 2, .experts = 32, .vocab = 1024}}}};
}

/// Of logits of a whole vocabulary, for the emulation a small one.
Result<bool> check_summaries(const std::string& device) {
  const int64_t num_rows = device == "gpu" ? 48 : 4;
  const int64_t vocab_size = device == "gpu" ? 200'064 : 10'007;
  TETRAD_ASSIGN(const auto opened, open_gpu_device(device));
  TETRAD_ASSIGN(const int64_t wrong, count_wrong_gpu_summaries(*opened, num_rows, vocab_size));
  fmt::print(
      "what is said of {} rows of {} logits\n  wrong                                 {}\n  {}\n",
      num_rows, vocab_size, wrong, wrong == 0 ? "passed" : "FAILED");
  return wrong == 0;
}

int run_selftest(const std::string& device) {
  bool passed = true;
  for (const SelftestCase& each : selftest_cases(device != "gpu")) {
    auto opened = open_gpu_device(device);
    if (!opened) return report(opened.error());
    const auto info = (*opened)->info();
    if (!info) return report(info.error());
    fmt::print("{} ({}): {}\n", info->name, info->architecture, each.what);
    const auto result = run_gpu_selftest(std::move(*opened), each.options);
    if (!result) return report(result.error());
    fmt::print("  logits against the CPU's in float32   {:.5f} of their size (below {})\n",
               result->median_error, kSelftestTolerance);
    fmt::print("  other choices than the CPU's          {} of {} (at most {:.0f} %)\n",
               result->num_wrong_choices, result->num_tokens, kSelftestWrongShare * 100);
    fmt::print("  other bits alone, in chunks, batched  {} of {}\n", result->num_other_bits,
               result->num_tokens);
    fmt::print("  {}\n", result->passed() ? "passed" : "FAILED");
    passed = passed && result->passed();
  }
  const Result<bool> summaries = check_summaries(device);
  if (!summaries) return report(summaries.error());
  passed = passed && *summaries;
  return passed ? kExitOk : kExitFailed;
}

}  // namespace

void add_verb_selftest(CLI::App& app, int& exit_status) {
  auto device = std::make_shared<std::string>("gpu");
  CLI::App* verb =
      app.add_subcommand("selftest", "Whether this machine's GPU computes what it should");
  add_gpu_device_flag(*verb, *device);
  verb->footer(
      "Small models of random weights are computed on the GPU and on the CPU in float32, and the\n"
      "same tokens all at once, in chunks and one by one, which must give the same bits. What a\n"
      "kernel says of rows of logits is held against the rows.");
  verb->callback([device, &exit_status] { exit_status = run_selftest(*device); });
}

}  // namespace tetrad
