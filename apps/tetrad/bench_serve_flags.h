#pragma once

// The flags of tetrad bench serve, and what they amount to.

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/agent_workload.h"
#include "bench/goodput.h"
#include "bench/load_run.h"
#include "bench/prompt_workload.h"
#include "bench/workload.h"

namespace tetrad {

struct BenchServeFlags {
  std::string base_url = "http://127.0.0.1:8000";
  std::string api_key;
  std::string model;      // "": the server's first
  std::string tokenizer;  // a folder; "": prompts of words
  double request_timeout_seconds = 300;

  std::string dataset_name = "random";
  bench::PromptShape random;
  bench::PromptShape shared_prefix{
      .prefix_len = 256, .num_prefixes = 10, .input_len = 256, .output_len = 128};
  bench::AgentShape agent;

  std::string request_rate = "inf";
  std::optional<int64_t> max_concurrency;
  std::optional<uint64_t> num_prompts;
  uint64_t num_sessions = 20;
  std::optional<double> duration_seconds;
  double disconnect_fraction = 0;

  uint64_t seed = 0;
  bool ignore_eos = false;
  std::optional<double> temperature;
  std::vector<std::string> goodput;

  bool save_result = false;
  bool save_detailed = false;
  std::string result_dir;
  std::string result_filename;
  bool disable_progress = false;

  bool is_agent() const { return dataset_name == "multi-turn-agent"; }
};

void add_bench_serve_flags(CLI::App& verb, BenchServeFlags& flags);

/// Refuses flags that only shape another dataset than the chosen one.
Result<void> check_dataset_flags(const CLI::App& verb, const BenchServeFlags& flags);
/// Errors name the flag.
Result<bench::LoadOptions> load_options(const BenchServeFlags& flags);
/// The ids that prompts may hold; empty without --tokenizer.
Result<std::vector<TokenId>> read_vocabulary(const BenchServeFlags& flags);
/// `model` is the name that requests carry.
Result<std::unique_ptr<bench::Workload>> make_workload(const BenchServeFlags& flags,
                                                       const std::string& model,
                                                       std::vector<TokenId> vocabulary);
/// The flags as vLLM's benchmark writes them into its result.
json::object describe(const BenchServeFlags& flags, const bench::LoadOptions& load,
                      const std::string& model);

}  // namespace tetrad
