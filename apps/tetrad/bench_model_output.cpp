#include "bench_model_output.h"

#include <fmt/format.h>

#include <cstdio>
#include <string>

namespace tetrad {
namespace {

constexpr double kMega = 1e6;
constexpr int kSizeColumn = 32;

std::string share_text(const std::optional<LimitShare>& share) {
  if (!share) return "-";
  return fmt::format("{:.1f} % of {:.1f}", 100 * share->share, share->limit);
}

json::object spread_to_json(const BenchSpread& spread) {
  return {{"median", spread.median}, {"least", spread.least}, {"greatest", spread.greatest}};
}

json::object share_to_json(const LimitShare& share) {
  return {{"median", share.limit}, {"share", share.share}};
}

}  // namespace

void print_bench_model_header(const ModelBench& bench, int repetitions) {
  const ModelConfig& config = bench.model().config();
  fmt::print("{}; {}\n", bench.model().kernels().name(), cpu_model());
  fmt::print(
      "{} layers, {} experts, vocabulary of {}, hidden {}: {:.2f} GB of mxfp4_16; FP8 cache of "
      "{:.2f} GB; {} repetitions\n\n",
      config.num_hidden_layers, config.num_local_experts, config.vocab_size, config.hidden_size,
      static_cast<double>(synthetic_weight_bytes(config)) / 1e9,
      static_cast<double>(bench.cache_bytes()) / 1e9, repetitions);
  if (bench.layout().tensor_parallel > 1) {
    fmt::print("{} ranks, experts {}; below a row what rank 0 did\n",
               bench.layout().tensor_parallel,
               bench.layout().expert_parallel ? "dealt out whole" : "cut");
  }
  fmt::print("{:{}} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7} {:>16} {:>8} {:>17}\n", "", kSizeColumn,
             "tok/s", "least", "greatest", "MB/tok", "Mop/tok", "GB/s", "of reading", "Gop/s",
             "of int8");
}

void print_bench_model_part(const BenchModelPart& part) {
  fmt::print("{}\n", part.title);
}

void print_model_figures(const ModelFigures& figures) {
  const BenchSpread& speed = figures.tokens_per_second;
  fmt::print(
      "{:>{}} {:>9.2f} {:>9.2f} {:>9.2f} {:>9.1f} {:>9.1f} {:>7.2f} {:>16} {:>8.1f} {:>17}\n",
      figures.size, kSizeColumn, speed.median, speed.least, speed.greatest,
      figures.bytes_per_token / kMega, figures.operations_per_token / kMega, figures.gb_per_second,
      share_text(figures.of_reading), figures.gops_per_second, share_text(figures.of_int8));
  std::fflush(stdout);
}

void print_operation_shares(const ModelFigures& figures) {
  for (const OperationShare& one : figures.operations) {
    fmt::print("{:>{}} {:>9.1f} % {:>9.1f} us each, {:g} a step\n", one.operation, kSizeColumn,
               100 * one.share, one.microseconds, one.calls_per_step);
  }
  std::fflush(stdout);
}

json::object bench_model_to_json(const ModelBench& bench) {
  const ModelConfig& config = bench.model().config();
  return {{"cpu", cpu_model()},
          {"kernels", bench.model().kernels().name()},
          {"threads", bench.num_threads()},
          {"tensor_parallel_size", bench.layout().tensor_parallel},
          {"expert_parallel", bench.layout().expert_parallel},
          {"shape", json::object{{"layers", config.num_hidden_layers},
                                 {"experts", config.num_local_experts},
                                 {"vocab", config.vocab_size},
                                 {"hidden", config.hidden_size},
                                 {"intermediate", config.intermediate_size},
                                 {"heads", config.num_attention_heads},
                                 {"kv_heads", config.num_key_value_heads},
                                 {"head_dim", config.head_dim},
                                 {"experts_per_token", config.num_experts_per_tok}}},
          {"weight_bytes", synthetic_weight_bytes(config)},
          {"kv_cache_bytes", bench.cache_bytes()}};
}

json::object model_figures_to_json(const BenchModelPart& part, const ModelFigures& figures) {
  json::object object = {{part.size_key, figures.size},
                         {"steps", figures.steps},
                         {"tokens_per_second", spread_to_json(figures.tokens_per_second)},
                         {"bytes_per_token", figures.bytes_per_token},
                         {"operations_per_token", figures.operations_per_token},
                         {"gb_per_second", figures.gb_per_second},
                         {"gops_per_second", figures.gops_per_second}};
  if (figures.of_reading) object["read_limit_gb_per_second"] = share_to_json(*figures.of_reading);
  if (figures.of_int8) object["int8_limit_gops_per_second"] = share_to_json(*figures.of_int8);
  json::array operations;
  for (const OperationShare& one : figures.operations) {
    operations.push_back(json::object{{"operation", one.operation},
                                      {"calls_per_step", one.calls_per_step},
                                      {"microseconds", one.microseconds},
                                      {"share", one.share}});
  }
  object["operations"] = std::move(operations);
  return object;
}

}  // namespace tetrad
