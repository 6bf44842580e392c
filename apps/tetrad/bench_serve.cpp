// tetrad bench serve: a load on a server, and how it bore it.

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <utility>

#include "base/pending_file.h"
#include "bench/progress_line.h"
#include "bench/report.h"
#include "bench/server_probe.h"
#include "bench_serve_flags.h"
#include "cli_io.h"
#include "interrupts.h"
#include "verbs.h"

namespace tetrad {
namespace {

constexpr const char* kBenchServeExamples =
    "Examples:\n"
    "  tetrad bench serve --random-input-len 512 --num-prompts 200 --max-concurrency 16\n"
    "  tetrad bench serve --base-url http://host:8000 --request-rate 4 --duration 60 \\\n"
    "    --tokenizer MODEL --ignore-eos --goodput ttft:500 tpot:50\n"
    "  tetrad bench serve --dataset-name multi-turn-agent --num-sessions 20 --num-turns 10 \\\n"
    "    --max-concurrency 4 --result-filename agent.json";

/// Each request is a connection, and shells allow 1024 open files by default.
void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);  // without it, connections beyond the limit fail and say so
}

/// One line on stderr that is overwritten, on a terminal only.
class ProgressBar {
 public:
  ProgressBar(bool wanted, bench::ProgressGoal goal)
      : is_shown_(wanted && isatty(STDERR_FILENO) == 1), goal_(goal) {}
  ~ProgressBar() {
    if (is_shown_) fmt::print(stderr, "\r\x1b[K");
  }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void show(const bench::Progress& progress) const {
    if (!is_shown_) return;
    fmt::print(stderr, "\r\x1b[K{}", bench::progress_line(progress, goal_, terminal_columns()));
    std::fflush(stderr);
  }

 private:
  const bool is_shown_;
  const bench::ProgressGoal goal_;
};

bench::ProgressGoal progress_goal(const bench::LoadOptions& load, const bench::Workload& workload) {
  bench::ProgressGoal goal{.duration = load.duration};
  if (load.num_sessions) {
    goal.num_requests = static_cast<int64_t>(*load.num_sessions) * workload.turns_per_session();
  }
  return goal;
}

/// Runs until it is done or Ctrl-C.
bench::RunResult run_load(http::Client& client, const bench::Workload& workload,
                          const bench::LoadOptions& load, bool show_progress) {
  const SteadyClock clock;
  const Interrupts interrupts;
  const ProgressBar bar(show_progress, progress_goal(load, workload));
  bench::LoadRun run(client, clock, workload, load, [&bar](const bench::Progress& progress) {
    bar.show(progress);
    return !Interrupts::take();
  });
  return run.run();
}

std::filesystem::path result_path(const BenchServeFlags& flags, const json::object& report) {
  std::string name = flags.result_filename;
  if (name.empty()) {
    std::string model(report.at("model_id").as_string());
    std::ranges::replace(model, '/', '-');
    name = fmt::format("openai-{}-{}.json", model, report.at("date").as_string().c_str());
  }
  return std::filesystem::path(flags.result_dir) / name;
}

/// The file of the figures: begun before the load, so that what keeps it from being written is
/// known then and not after an hour of measuring.
class ResultFile {
 public:
  /// `report` holds what names the file. Without a wish for one, save() does nothing.
  static Result<ResultFile> create(const BenchServeFlags& flags, const json::object& report) {
    ResultFile result;
    if (!flags.save_result && !flags.save_detailed && flags.result_filename.empty()) return result;
    result.path_ = result_path(flags, report);
    if (std::error_code ec; std::filesystem::is_directory(result.path_, ec)) {
      return fail_param("--result-filename", "--result-filename: {} is a folder",
                        result.path_.string());
    }
    auto file = PendingFile::create(result.path_);
    if (!file) return tl::unexpected(std::move(file.error()).in("the result's file"));
    result.file_.emplace(std::move(*file));
    return result;
  }

  Result<void> save(const json::object& report) {
    if (!file_) return {};
    const std::string text = to_json_text(report) + "\n";
    TETRAD_TRY(file_->write(text.data(), text.size()));
    TETRAD_TRY(file_->commit());
    fmt::print("\nwritten to {}\n", path_.string());
    return {};
  }

 private:
  std::filesystem::path path_;
  std::optional<PendingFile> file_;
};

Result<std::unique_ptr<http::Client>> connect(const BenchServeFlags& flags) {
  auto parsed = http::parse_url(flags.base_url);
  if (!parsed) return tl::unexpected(at_flag(std::move(parsed.error()), "--base-url"));
  http::Url url = std::move(*parsed);
  // Clients' base URLs have it, vLLM's benchmark's has not: both are meant.
  if (url.path.ends_with("/v1")) url.path.resize(url.path.size() - 3);
  http::ClientOptions options;
  options.silence_timeout = Seconds(flags.request_timeout_seconds);
  return http::make_client(url, options);
}

/// The figures of the run; printed and saved.
Result<bench::Summary> bench_serve(const BenchServeFlags& flags) {
  TETRAD_ASSIGN(const bench::LoadOptions load, load_options(flags));
  TETRAD_ASSIGN(const bench::ServiceLevel level, bench::parse_service_level(flags.goodput));
  TETRAD_ASSIGN(std::vector<TokenId> vocabulary, read_vocabulary(flags));
  // For its checks alone: a server is troubled only with what can be run.
  TETRAD_TRY(make_workload(flags, flags.model, {}));
  TETRAD_ASSIGN(const std::unique_ptr<http::Client> client, connect(flags));
  TETRAD_ASSIGN(const bench::ServedModel model,
                bench::find_model(*client, flags.model, flags.api_key));
  TETRAD_ASSIGN(const std::unique_ptr<bench::Workload> workload,
                make_workload(flags, model.id, std::move(vocabulary)));
  json::object report = describe(flags, load, model.id);
  TETRAD_ASSIGN(ResultFile result_file, ResultFile::create(flags, report));
  raise_file_limit();

  bench::ServerFacts facts{.max_model_len = model.max_model_len};
  facts.before = bench::fetch_metrics(*client, flags.api_key);
  const bench::RunResult run = run_load(*client, *workload, load, !flags.disable_progress);
  // The load's client may have been stopped with requests under way.
  TETRAD_ASSIGN(const std::unique_ptr<http::Client> fresh_client, connect(flags));
  facts.after = bench::fetch_metrics(*fresh_client, flags.api_key);

  bench::Summary summary = bench::summarise(run, level, facts);
  fmt::print("{} on {}, {}\n{}", model.id, flags.base_url, flags.dataset_name,
             bench::report_text(summary));
  for (auto& member : bench::report_json(summary))
    report[member.key()] = member.value();
  if (flags.save_detailed) {
    for (auto& member : bench::detailed_json(run))
      report[member.key()] = member.value();
  }
  TETRAD_TRY(result_file.save(report));
  return summary;
}

int run(const CLI::App& verb, const BenchServeFlags& flags) {
  const auto summary =
      check_dataset_flags(verb, flags).and_then([&flags] { return bench_serve(flags); });
  if (!summary) return report(summary.error());
  return summary->failed == 0 && !summary->was_interrupted ? kExitOk : kExitFailed;
}

}  // namespace

void add_bench_serve(CLI::App& bench, int& exit_status) {
  auto flags = std::make_shared<BenchServeFlags>();
  CLI::App* verb =
      bench.add_subcommand("serve", "Load an OpenAI-compatible server and measure its answers");
  add_bench_serve_flags(*verb, *flags);
  verb->footer(kBenchServeExamples);
  verb->callback([verb, flags, &exit_status] { exit_status = run(*verb, *flags); });
}

}  // namespace tetrad
