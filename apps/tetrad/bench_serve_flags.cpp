#include "bench_serve_flags.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>
#include <filesystem>

#include "number_flag.h"

namespace tetrad {
namespace {

constexpr uint64_t kDefaultNumPrompts = 1000;
constexpr const char* kServer = "Server";
constexpr const char* kLoad = "Load";
constexpr const char* kRequests = "Requests";
constexpr const char* kRandom = "--dataset-name random";
constexpr const char* kSharedPrefix = "--dataset-name shared-prefix";
constexpr const char* kAgent = "--dataset-name multi-turn-agent";
constexpr const char* kResult = "Result";

void add_server_flags(CLI::App& verb, BenchServeFlags& flags) {
  verb.add_option("--base-url", flags.base_url, "http://host[:port][/path], without /v1")
      ->capture_default_str()
      ->group(kServer);
  verb.add_option("--model", flags.model, "Name of a served model; default: the first")
      ->group(kServer);
  verb.add_option("--api-key", flags.api_key, "Sent as a bearer token; or in TETRAD_API_KEY")
      ->envname("TETRAD_API_KEY")
      ->group(kServer);
  verb.add_option("--request-timeout", flags.request_timeout_seconds,
                  "Seconds without a byte from the server after which a request has failed")
      ->transform(as_number({.above = 0}))
      ->capture_default_str()
      ->group(kServer);
}

void add_load_flags(CLI::App& verb, BenchServeFlags& flags) {
  verb.add_option("--request-rate", flags.request_rate,
                  "Prompts, or sessions, that arrive each second (Poisson); inf: all at once")
      ->capture_default_str()
      ->group(kLoad);
  verb.add_option("--max-concurrency", flags.max_concurrency,
                  "Requests under way at once; the others wait. Default: no limit")
      ->transform(as_whole_number({.above = 0}))
      ->group(kLoad);
  verb.add_option("--num-prompts", flags.num_prompts,
                  "Prompts to send; default 1000, or with --duration no limit")
      ->transform(as_whole_number({.above = 0}))
      ->group(kLoad);
  verb.add_option("--duration", flags.duration_seconds,
                  "Seconds after which no request is begun; those under way finish")
      ->transform(as_number({.above = 0}))
      ->group(kLoad);
  verb.add_option("--disconnect-fraction", flags.disconnect_fraction,
                  "Share of the requests whose connection is closed at a random moment")
      ->transform(as_number({.from = 0, .to = 1}))
      ->group(kLoad);
}

void add_request_flags(CLI::App& verb, BenchServeFlags& flags) {
  verb.add_option("--dataset-name", flags.dataset_name, "random, shared-prefix or multi-turn-agent")
      ->check(CLI::IsMember({"random", "shared-prefix", "multi-turn-agent"}))
      ->capture_default_str()
      ->group(kRequests);
  verb.add_option(
          "--tokenizer", flags.tokenizer,
          "Folder with tokenizer.json: prompts are token ids of exact length. Default: words")
      ->group(kRequests);
  verb.add_option("--seed", flags.seed, "Of prompts, arrivals and disconnects")
      ->transform(as_whole_number({.from = 0}))
      ->capture_default_str()
      ->group(kRequests);
  verb.add_flag("--ignore-eos", flags.ignore_eos, "Let every answer reach its full length")
      ->group(kRequests);
  verb.add_option("--temperature", flags.temperature, "Default: the server's")
      ->transform(as_number({.from = 0}))
      ->group(kRequests);
}

void add_prompt_flags(CLI::App& verb, BenchServeFlags& flags) {
  bench::PromptShape& random = flags.random;
  verb.add_option("--random-input-len", random.input_len, "Tokens, or words, of a prompt")
      ->transform(as_whole_number({.from = 1}))
      ->capture_default_str()
      ->group(kRandom);
  verb.add_option("--random-output-len", random.output_len, "Most tokens of an answer")
      ->transform(as_whole_number({.from = 1}))
      ->capture_default_str()
      ->group(kRandom);
  verb.add_option("--random-prefix-len", random.prefix_len,
                  "Tokens, or words, that all prompts begin with, on top of their own")
      ->transform(as_whole_number({.from = 0}))
      ->capture_default_str()
      ->group(kRandom);
  verb.add_option("--random-range-ratio", random.range_ratio,
                  "Vary both lengths evenly by this fraction, below 1")
      ->transform(as_number({.from = 0, .below = 1}))
      ->capture_default_str()
      ->group(kRandom);
  bench::PromptShape& shared = flags.shared_prefix;
  verb.add_option("--prefix-repetition-prefix-len", shared.prefix_len, "Tokens, or words, shared")
      ->transform(as_whole_number({.from = 0}))
      ->capture_default_str()
      ->group(kSharedPrefix);
  verb.add_option("--prefix-repetition-suffix-len", shared.input_len,
                  "Tokens, or words, after them")
      ->transform(as_whole_number({.from = 1}))
      ->capture_default_str()
      ->group(kSharedPrefix);
  verb.add_option("--prefix-repetition-num-prefixes", shared.num_prefixes,
                  "Prefixes, taken in turn")
      ->transform(as_whole_number({.from = 1}))
      ->capture_default_str()
      ->group(kSharedPrefix);
  verb.add_option("--prefix-repetition-output-len", shared.output_len, "Most tokens of an answer")
      ->transform(as_whole_number({.from = 1}))
      ->capture_default_str()
      ->group(kSharedPrefix);
}

void add_agent_flags(CLI::App& verb, BenchServeFlags& flags) {
  bench::AgentShape& agent = flags.agent;
  verb.add_option("--num-sessions", flags.num_sessions, "Conversations")
      ->transform(as_whole_number({.above = 0}))
      ->capture_default_str()
      ->group(kAgent);
  verb.add_option("--num-turns", agent.num_turns, "Requests of a conversation")
      ->transform(as_whole_number({.from = 1}))
      ->capture_default_str()
      ->group(kAgent);
  verb.add_option("--agent-prefix-len", agent.prefix_len,
                  "Words of project notes in the system prompt that all share")
      ->transform(as_whole_number({.from = 0}))
      ->capture_default_str()
      ->group(kAgent);
  verb.add_option("--agent-result-len", agent.result_len, "Words of a tool's result")
      ->transform(as_whole_number({.from = 0}))
      ->capture_default_str()
      ->group(kAgent);
  verb.add_option("--agent-output-len", agent.output_len, "Most tokens of an answer")
      ->transform(as_whole_number({.from = 1}))
      ->capture_default_str()
      ->group(kAgent);
}

void add_result_flags(CLI::App& verb, BenchServeFlags& flags) {
  verb.add_option("--goodput", flags.goodput,
                  "Count requests within these milliseconds: ttft:500 tpot:50 e2el:5000")
      ->expected(1, 3)
      ->group(kResult);
  verb.add_flag("--save-result", flags.save_result, "Write the figures as JSON")->group(kResult);
  verb.add_flag("--save-detailed", flags.save_detailed,
                "As --save-result, with the latencies and texts of every request")
      ->group(kResult);
  verb.add_option("--result-dir", flags.result_dir, "Where to; default: the current folder")
      ->group(kResult);
  verb.add_option("--result-filename", flags.result_filename,
                  "As --save-result, under this name; default: made of model and time")
      ->group(kResult);
  verb.add_flag("--disable-tqdm", flags.disable_progress, "No progress bar, on a terminal either")
      ->group(kResult);
}

Result<double> parse_rate(const std::string& text) {
  double rate = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), rate);
  if (ec != std::errc() || end != text.data() + text.size() || !(rate > 0)) {
    return fail_param("--request-rate", "--request-rate must be a number above 0, or inf, not {}",
                      text);
  }
  return rate;
}

}  // namespace

void add_bench_serve_flags(CLI::App& verb, BenchServeFlags& flags) {
  add_server_flags(verb, flags);
  add_load_flags(verb, flags);
  add_request_flags(verb, flags);
  add_prompt_flags(verb, flags);
  add_agent_flags(verb, flags);
  add_result_flags(verb, flags);
}

Result<void> check_dataset_flags(const CLI::App& verb, const BenchServeFlags& flags) {
  constexpr std::string_view kDataset = "--dataset-name ";
  for (const CLI::Option* option : verb.get_options()) {
    const std::string& group = option->get_group();
    const bool is_others =
        group.starts_with(kDataset) && group.substr(kDataset.size()) != flags.dataset_name;
    if (option->count() == 0 || !is_others) continue;
    return fail_param(option->get_name(), "{} belongs to {}, and this is {}{}", option->get_name(),
                      group, kDataset, flags.dataset_name);
  }
  if (flags.is_agent() && !flags.tokenizer.empty()) {
    return fail_param("--tokenizer",
                      "--tokenizer: the messages of multi-turn-agent are words, never token ids");
  }
  return {};
}

Result<bench::LoadOptions> load_options(const BenchServeFlags& flags) {
  bench::LoadOptions options;
  TETRAD_ASSIGN(options.request_rate, parse_rate(flags.request_rate));
  options.max_concurrency = flags.max_concurrency;
  if (flags.is_agent()) {
    if (flags.num_prompts) {
      return fail_param("--num-prompts",
                        "--num-prompts: multi-turn-agent takes --num-sessions and --num-turns");
    }
    options.num_sessions = flags.num_sessions;
  } else {
    options.num_sessions = flags.num_prompts;
    if (!flags.num_prompts && !flags.duration_seconds) options.num_sessions = kDefaultNumPrompts;
  }
  if (flags.duration_seconds) {
    options.duration = Seconds(*flags.duration_seconds);
    const bool is_bounded =
        options.num_sessions || options.max_concurrency || std::isfinite(options.request_rate);
    if (!is_bounded) {
      return fail_param("--duration",
                        "--duration needs --max-concurrency, --request-rate or --num-prompts: "
                        "without, endlessly many requests would begin at once");
    }
  }
  const auto is_printable = [](char c) { return c > ' ' && c <= '~'; };
  if (!std::ranges::all_of(flags.api_key, is_printable)) {
    return fail_param("--api-key", "--api-key holds a character that can't stand in a header");
  }
  options.disconnect_fraction = flags.disconnect_fraction;
  options.seed = flags.seed;
  options.bearer_token = flags.api_key;
  options.keep_texts = flags.save_detailed;
  return options;
}

Result<std::vector<TokenId>> read_vocabulary(const BenchServeFlags& flags) {
  if (flags.tokenizer.empty()) return {};
  TETRAD_ASSIGN(const Tokenizer tokenizer,
                Tokenizer::from_file(std::filesystem::path(flags.tokenizer) / "tokenizer.json"));
  return bench::ordinary_tokens(tokenizer);
}

Result<std::unique_ptr<bench::Workload>> make_workload(const BenchServeFlags& flags,
                                                       const std::string& model,
                                                       std::vector<TokenId> vocabulary) {
  const bench::RequestSettings settings{.model = model,
                                        .seed = flags.seed,
                                        .ignore_eos = flags.ignore_eos,
                                        .temperature = flags.temperature};
  if (flags.is_agent()) return bench::make_agent_workload(settings, flags.agent);
  const bool is_random = flags.dataset_name == "random";
  return bench::make_prompt_workload(settings, is_random ? flags.random : flags.shared_prefix,
                                     std::move(vocabulary));
}

json::object describe(const BenchServeFlags& flags, const bench::LoadOptions& load,
                      const std::string& model) {
  json::object object{{"date", fmt::format("{:%Y%m%d-%H%M%S}", fmt::localtime(std::time(nullptr)))},
                      {"backend", "openai"},
                      {"tetrad_version", TETRAD_VERSION},
                      {"base_url", flags.base_url},
                      {"model_id", model},
                      {"tokenizer_id", nullptr},
                      {"dataset_name", flags.dataset_name},
                      {"seed", flags.seed},
                      {"num_prompts", nullptr},
                      {"request_rate", "inf"},
                      {"burstiness", 1.0},
                      {"max_concurrency", nullptr}};
  if (!flags.tokenizer.empty()) object["tokenizer_id"] = flags.tokenizer;
  if (load.num_sessions) object["num_prompts"] = *load.num_sessions;
  if (std::isfinite(load.request_rate)) object["request_rate"] = load.request_rate;
  if (load.max_concurrency) object["max_concurrency"] = *load.max_concurrency;
  if (flags.is_agent()) {
    object["num_sessions"] = flags.num_sessions;
    object["num_turns"] = flags.agent.num_turns;
    object["num_prompts"] = static_cast<int64_t>(flags.num_sessions) * flags.agent.num_turns;
  }
  return object;
}

}  // namespace tetrad
