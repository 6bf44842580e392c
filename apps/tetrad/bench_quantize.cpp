// tetrad bench quantize: speed and error of every format and scale search, without a model.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <iterator>
#include <random>
#include <vector>

#include "base/clock.h"
#include "base/dtype.h"
#include "cli_io.h"
#include "number_flag.h"
#include "quant/encode_matrix.h"
#include "quant/pretty_json.h"
#include "quant/quant_kernels.h"
#include "verbs.h"

namespace tetrad {
namespace {

struct BenchQuantizeFlags {
  int threads = 0;
  int64_t rows = 768;
  bool json = false;
};

constexpr int64_t kCols = 3072;  // MiniMax-M2's hidden size
constexpr int kRuns = 5;         // the best of which counts
constexpr double kShortestRun = 0.1;

/// The way from weights to bytes that a line of the report is about.
struct Subject {
  TargetFormat format = TargetFormat::mxfp4_16;
  ScaleSearch search = ScaleSearch::exact;
  ScaleSigns signs = ScaleSigns::both;

  std::string_view search_name() const {
    if (format != TargetFormat::mxfp4_16) return "-";
    return signs == ScaleSigns::positive ? "exact, scales > 0" : scale_search_name(search);
  }
};

constexpr std::array<Subject, 8> kSubjects = {{
    {.search = ScaleSearch::exact},
    {.search = ScaleSearch::fast},
    {.search = ScaleSearch::amax},
    {.search = ScaleSearch::exact, .signs = ScaleSigns::positive},
    {.format = TargetFormat::mxfp4},
    {.format = TargetFormat::nvfp4},
    {.format = TargetFormat::fp8_block},
    {.format = TargetFormat::bf16},
}};

struct BenchWeights {
  std::string_view distribution;
  std::vector<uint16_t> bf16;

  WeightMatrix matrix() const {
    return {.format = WeightFormat::bf16,
            .rows = static_cast<int64_t>(bf16.size()) / kCols,
            .cols = kCols,
            .data = reinterpret_cast<const std::byte*>(bf16.data())};
  }
};

/// What one Subject does with one kind of weights. Speeds in weights a second.
struct Figures {
  double one_core = 0;
  double all_cores = 0;
  double relative_rms = 0;
};

BenchWeights bench_weights(std::string_view distribution, int64_t rows) {
  constexpr float kMagnitude = 0.02f;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::exponential_distribution<float> exponential;
  BenchWeights weights{distribution, std::vector<uint16_t>(static_cast<size_t>(rows * kCols))};
  for (uint16_t& weight : weights.bf16) {
    float value = 0;
    if (distribution == "gaussian") {
      value = normal(random);
    } else {
      value = exponential(random) * ((random() & 1u) != 0 ? 1.0f : -1.0f);
    }
    weight = float_to_bf16(kMagnitude * value);
  }
  return weights;
}

/// Calls a second, the best of some runs.
double calls_per_second(const std::function<void()>& call) {
  const SteadyClock clock;
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    const Seconds begin = clock.now();
    double seconds = 0;
    int calls = 0;
    while (seconds < kShortestRun) {
      call();
      ++calls;
      seconds = (clock.now() - begin).count();
    }
    best = std::max(best, calls / seconds);
  }
  return best;
}

/// What memory allows: BF16 weights read and written, of a size that no cache holds.
double copied_weights_per_second(ThreadPool& pool) {
  constexpr int64_t kCount = int64_t{1} << 27;
  const std::vector<uint16_t> from(static_cast<size_t>(kCount), 0x3F80);
  std::vector<uint16_t> to(from.size());
  return static_cast<double>(kCount) * calls_per_second([&] {
           pool.parallel_for(kCount, kCols, [&](int64_t begin, int64_t end, int) {
             std::memcpy(to.data() + begin, from.data() + begin,
                         static_cast<size_t>(end - begin) * sizeof to[0]);
           });
         });
}

Figures figures_of(const Subject& subject, const BenchWeights& weights, ThreadPool& one,
                   ThreadPool& all) {
  const EncodeOptions options{
      .format = subject.format, .search = subject.search, .signs = subject.signs};
  Figures figures;
  const auto speed = [&](ThreadPool& pool) {
    return static_cast<double>(weights.bf16.size()) * calls_per_second([&] {
             const auto encoded = encode_matrix("bench", weights.matrix(), options, {}, pool);
             if (encoded) figures.relative_rms = encoded->loss.relative_rms_error();
           });
  };
  figures.one_core = speed(one);
  figures.all_cores = all.num_threads() == 1 ? figures.one_core : speed(all);
  return figures;
}

/// Weights a second that one core searches, without reading them or looking at the loss.
double search_speed(const QuantKernels& kernels, ScaleSearch search, const BenchWeights& weights) {
  std::vector<float> floats(weights.bf16.size());
  std::transform(weights.bf16.begin(), weights.bf16.end(), floats.begin(), bf16_to_float);
  std::vector<std::byte> codes(floats.size() / 2);
  std::vector<std::byte> scales(floats.size() / 8);
  return static_cast<double>(floats.size()) * calls_per_second([&] {
           quantize_groups_with(kernels, floats, {}, search, codes, scales);
         });
}

json::array search_speeds(const BenchWeights& weights, bool print) {
  json::array speeds;
  if (print) fmt::print("\nsearch alone, one core, gaussian weights, M/s\n");
  for (auto kernels = available_quant_kernels(); *kernels != nullptr; ++kernels) {
    if (print) fmt::print("{:<10}", (*kernels)->isa);
    for (const ScaleSearch search : {ScaleSearch::exact, ScaleSearch::fast, ScaleSearch::amax}) {
      const double speed = search_speed(**kernels, search, weights);
      if (print) fmt::print("  {} {:.1f}", scale_search_name(search), speed / 1e6);
      speeds.push_back(json::object{{"instruction_set", (*kernels)->isa},
                                    {"search", scale_search_name(search)},
                                    {"weights_per_second_one_core", speed}});
    }
    if (print) fmt::print("\n");
  }
  return speeds;
}

void print_figures(const Subject& subject, const BenchWeights& weights, const Figures& figures,
                   double copied) {
  constexpr double kMillion = 1e6;
  fmt::print("{:<10} {:<18} {:<9} {:>10.1f} {:>10.1f} {:>9.1f} % {:>11.3f} %\n",
             target_format_name(subject.format), subject.search_name(), weights.distribution,
             figures.one_core / kMillion, figures.all_cores / kMillion,
             100 * figures.all_cores / copied, 100 * figures.relative_rms);
}

json::object figures_to_json(const Subject& subject, const BenchWeights& weights,
                             const Figures& figures) {
  return {{"format", target_format_name(subject.format)},
          {"search", subject.search_name()},
          {"weights", weights.distribution},
          {"weights_per_second_one_core", figures.one_core},
          {"weights_per_second", figures.all_cores},
          {"relative_rms_error", figures.relative_rms}};
}

int run_bench(const BenchQuantizeFlags& flags) {
  ThreadPool one(1);
  ThreadPool all(flags.threads);
  const std::array<BenchWeights, 2> kinds = {bench_weights("gaussian", flags.rows),
                                             bench_weights("laplace", flags.rows)};
  const double copied = copied_weights_per_second(all);
  const char* isa = quant_kernels().isa;
  if (!flags.json) {
    fmt::print("BF16 [{}, {}], {} threads, {}; {:.0f} M weights/s copied\n\n", flags.rows, kCols,
               all.num_threads(), isa, copied / 1e6);
    fmt::print("{:<10} {:<18} {:<9} {:>10} {:>10} {:>11} {:>13}\n", "format", "search", "weights",
               "M/s, core", "M/s, all", "of copying", "relative RMS");
  }
  json::array results;
  for (const Subject& subject : kSubjects) {
    for (const BenchWeights& weights : kinds) {
      const Figures figures = figures_of(subject, weights, one, all);
      if (flags.json) {
        results.push_back(figures_to_json(subject, weights, figures));
      } else {
        print_figures(subject, weights, figures, copied);
      }
    }
  }
  const json::array searches = search_speeds(kinds[0], !flags.json);
  if (flags.json) {
    fmt::print("{}", to_pretty_json(json::object{{"threads", all.num_threads()},
                                                 {"rows", flags.rows},
                                                 {"cols", kCols},
                                                 {"instruction_set", isa},
                                                 {"copied_weights_per_second", copied},
                                                 {"results", results},
                                                 {"search_alone", searches}}));
  }
  return kExitOk;
}

}  // namespace

void add_bench_quantize(CLI::App& bench, int& exit_status) {
  auto flags = std::make_shared<BenchQuantizeFlags>();
  CLI::App* verb = bench.add_subcommand(
      "quantize", "Speed and error of each output format and scale search, on random weights");
  verb->add_option("--threads", flags->threads, "threads; 0: one for each processor")
      ->transform(as_whole_number({.from = 0, .to = 1024}));
  verb->add_option("--rows", flags->rows, "rows of the matrix, of 3072 weights each")
      ->transform(as_whole_number({.from = 1, .to = 1'000'000}));
  verb->add_flag("--json", flags->json, "figures as JSON");
  verb->footer(
      "The matrix is read as BF16 and encoded in memory, once by one thread and once by all; of\n"
      "several short runs the best counts. \"of copying\" sets the speed of all threads against\n"
      "theirs when they copy BF16 weights from memory to memory.");
  verb->callback([flags, &exit_status] { exit_status = run_bench(*flags); });
}

}  // namespace tetrad
