// The same random requests in every company: alone, batched, in chunks, preempted, with prefixes
// cold and warm, with drafts. Whatever differs by a token is a fault.
//   engine_differential [--requests N] [--seed S] [--device cpu|gpu|emulated-nvidia|emulated-gfx12]
//                       [--root REPOSITORY]

#include <fmt/format.h>

#include <cstdlib>
#include <exception>
#include <string_view>

#include "company.h"

namespace {

using namespace tetrad;
using namespace tetrad::differential;

constexpr int64_t kPlentyOfBlocks = 4096;

struct Company {
  const char* name;
  SchedulerOptions options;
};

const Company kCompanies[] = {
    {"batched 32-wide",
     {.max_num_seqs = 32, .num_kv_blocks = kPlentyOfBlocks, .enable_prefix_caching = false}},
    {"chunks of 16",
     {.max_num_seqs = 16,
      .max_num_batched_tokens = 16,
      .num_kv_blocks = kPlentyOfBlocks,
      .enable_prefix_caching = false}},
    {"chunks of 64",
     {.max_num_seqs = 32,
      .max_num_batched_tokens = 64,
      .num_kv_blocks = kPlentyOfBlocks,
      .enable_prefix_caching = false}},
    {"too few blocks",
     {.max_num_seqs = 32,
      .max_num_batched_tokens = 256,
      .num_kv_blocks = 40,
      .enable_prefix_caching = false}},
    {"prefix cache", {.max_num_seqs = 32, .num_kv_blocks = kPlentyOfBlocks}},
    {"prefix cache and too few blocks",
     {.max_num_seqs = 8, .max_num_batched_tokens = 64, .num_kv_blocks = 40}},
    {"drafts",
     {.max_num_seqs = 32,
      .num_kv_blocks = kPlentyOfBlocks,
      .enable_prefix_caching = false,
      .ngram = {.num_speculative_tokens = 5, .prompt_lookup_min = 1}}},
    {"everything at once",
     {.max_num_seqs = 12,
      .max_num_batched_tokens = 48,
      .num_kv_blocks = 60,
      .ngram = {.num_speculative_tokens = 8, .prompt_lookup_min = 1}}},
};

void report(const char* name, const Counts& counts) {
  fmt::print(
      "{}: {} steps, {} preemptions, {} prompt tokens from the cache, {} of {} draft tokens "
      "accepted: the same tokens\n",
      name, counts.steps, counts.preemptions, counts.cached_tokens, counts.accepted_drafts,
      counts.draft_tokens);
}

/// A fault of the test: a company that never does what it is there for proves nothing.
void demand(bool condition, const char* name, const char* what) {
  if (!condition) throw std::logic_error(fmt::format("{}: {}", name, what));
}

void run(int64_t num_requests, uint64_t seed, const BenchOptions& options) {
  Bench bench(options);
  const std::vector<GenerationRequest> requests = bench.random_requests(num_requests, seed);
  const std::vector<Answer> alone = bench.answers_alone(requests);
  for (const Company& company : kCompanies) {
    Counts counts;
    const auto answers = bench.answers_together(requests, company.options, counts);
    compare(company.name, requests, alone, answers);
    report(company.name, counts);
    const bool small = company.options.num_kv_blocks < kPlentyOfBlocks;
    demand(!small || counts.preemptions > 0, company.name, "nobody was preempted");
    demand(!company.options.enable_prefix_caching || counts.cached_tokens > 0, company.name,
           "no prefix was cached");
    demand(company.options.ngram.num_speculative_tokens == 0 || counts.accepted_drafts > 0,
           company.name, "no draft was accepted");
  }
  fmt::print("warm at every split point: {} splits, the same tokens\n",
             bench.check_every_split_point());
}

}  // namespace

int main(int argc, char** argv) {
  int64_t num_requests = 1000;
  uint64_t seed = 1;
  BenchOptions options{.root = TETRAD_SOURCE_DIR};
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view flag = argv[i];
    if (flag == "--requests") num_requests = std::atoll(argv[i + 1]);
    if (flag == "--seed") seed = static_cast<uint64_t>(std::atoll(argv[i + 1]));
    if (flag == "--device") options.device = argv[i + 1];
    if (flag == "--root") options.root = argv[i + 1];
  }
  try {
    run(num_requests, seed, options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
