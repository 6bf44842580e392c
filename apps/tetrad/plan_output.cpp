#include "plan_output.h"

#include <fmt/format.h>

#include <array>
#include <string>

#include "base/grouped_number.h"
#include "plan_forecast_output.h"

namespace tetrad::plan {
namespace {

constexpr double kGiB = 1 << 30;

constexpr std::array kKinds = {MemoryKind::experts, MemoryKind::attention, MemoryKind::embeddings,
                               MemoryKind::router_and_norms};

std::string kv_dtype_name(DType dtype) {
  if (dtype == DType::f8_e4m3) return "fp8_e4m3";
  return dtype == DType::bf16 ? "bf16" : "float32";
}

std::string_view kind_label(MemoryKind kind) {
  switch (kind) {
    case MemoryKind::experts:
      return "experts";
    case MemoryKind::attention:
      return "attention projections";
    case MemoryKind::embeddings:
      return "embedding and head";
    case MemoryKind::router_and_norms:
      return "router, norms, scales";
  }
  return "";
}

std::string shape(int64_t rows, int64_t cols) {
  return cols == 1 ? fmt::format("[{}]", rows) : fmt::format("[{}, {}]", rows, cols);
}

std::string_view cut_name(const Shard& shard) {
  if (shard.dim == 0) return "rows";
  return shard.dim == 1 ? "columns" : "-";
}

void print_head(const PlannedModel& model, const PlanRequest& request, const Plan& plan) {
  fmt::print("{}\n", model.source);
  fmt::print("  model      {} parameters, {} bytes of weights{}\n",
             grouped_number(model.parameters()), grouped_number(model.weight_bytes()),
             model.assumed ? " in assumed formats (no tensors were read)" : "");
  if (model.skipped_bytes > 0) {
    fmt::print("  skipped    {} bytes of tensors that are not loaded\n",
               grouped_number(model.skipped_bytes));
  }
  fmt::print("  GPUs       {} of {:.3f} GiB: {} replica{} at tensor parallel {}{}\n",
             request.gpus.count, static_cast<double>(request.gpus.bytes_each) / kGiB, plan.replicas,
             plan.replicas == 1 ? "" : "s", plan.layout.tensor_parallel,
             plan.layout.expert_parallel ? " with expert parallelism" : "");
  fmt::print("  KV cache   {}: {} bytes a token, {} on each GPU\n", kv_dtype_name(plan.kv.dtype),
             grouped_number(plan.kv.token_bytes_in_all), grouped_number(plan.kv.token_bytes));
}

void print_memory_row(std::string_view label, int64_t bytes) {
  fmt::print("{:<28} {:>20} {:>12.3f}\n", label, grouped_number(bytes),
             static_cast<double>(bytes) / kGiB);
}

void print_memory(const PlanRequest& request, const MemoryBudget& memory) {
  fmt::print("\n{:<28} {:>20} {:>12}\n", "memory of one GPU", "bytes", "GiB");
  for (const MemoryKind kind : kKinds)
    print_memory_row(fmt::format("  {}", kind_label(kind)), memory.weights.of(kind));
  print_memory_row("weights", memory.weights.total());
  print_memory_row("workspace (estimate)", memory.workspace);
  print_memory_row("KV cache", memory.kv_cache);
  print_memory_row("left free", memory.free());
  print_memory_row("GPU", memory.total);
  if (request.kv_cache_memory) {
    fmt::print("KV cache as --kv-cache-memory says\n");
  } else {
    fmt::print("KV cache: what --gpu-memory-utilization {} leaves, in whole blocks\n",
               request.gpu_memory_utilization);
  }
}

void print_capacity(const Plan& plan) {
  fmt::print("\nKV capacity            {} tokens in {} blocks of {}{}\n",
             grouped_number(plan.kv.tokens()), grouped_number(plan.kv.blocks), kBlockTokens,
             plan.replicas == 1 ? "" : ", in each replica");
  fmt::print("full-length requests   {} of {} tokens at the same time ({:.2f} by tokens){}\n",
             plan.kv.full_length_requests, grouped_number(plan.max_model_len),
             static_cast<double>(plan.kv.tokens()) / static_cast<double>(plan.max_model_len),
             plan.replicas == 1 ? "" : ", in each replica");
}

void print_decode(const Plan& plan) {
  fmt::print("\n{:<14} {:>9} {:>11} {:>14} {:>12} {:>10}  {}\n", "decode, batch", "context",
             "experts", "GB read", "least time", "tokens/s", "");
  for (const DecodeForecast& row : plan.decode) {
    const auto rate = row.tokens_per_second();
    const bool fits = row.batch * row.context <= plan.kv.tokens();
    fmt::print("{:<14} {:>9} {:>11.1f} {:>14.3f} {:>12} {:>10}  {}\n", row.batch,
               grouped_number(row.context), row.distinct_experts, row.bytes / 1e9,
               time_text(row.seconds), rate ? fmt::format("{:.1f}", *rate) : "-",
               fits ? "" : "does not fit the cache");
  }
  fmt::print("{:<14} {:>9} {:>11} {:>14} {:>12} {:>10}\n", "prefill, tokens", "chunks", "",
             "GB read", "reading", "computing");
  for (const PrefillForecast& row : plan.prefill) {
    fmt::print("{:<14} {:>9} {:>11} {:>14.3f} {:>12} {:>10}  {:.1f} T multiply-adds\n",
               grouped_number(row.tokens), row.chunks, "", row.bytes / 1e9,
               time_text(row.read_seconds), time_text(row.compute_seconds),
               row.multiply_adds / 1e12);
  }
  fmt::print(
      "GB read: by one GPU. Least times: bytes and operations over the rates given with "
      "--bandwidth "
      "and --tflops;\nno engine is faster. Experts: expected distinct ones of a layer if routing "
      "were uniform.\n");
}

void print_shards(const Plan& plan) {
  fmt::print("\n{:<55} {:>6} {:<10} {:>15} {:<8} {:>15} {:>6} {:>16}\n", "shards", "count",
             "format", "shape", "cut", "on one GPU", "count", "bytes");
  for (const auto& [weight, shard] : plan.shards) {
    fmt::print("{:<55} {:>6} {:<10} {:>15} {:<8} {:>15} {:>6} {:>16}\n", weight.name, weight.count,
               weight_format_name(weight.format), shape(weight.rows, weight.cols), cut_name(shard),
               shape(shard.rows, shard.cols), shard.count, grouped_number(shard.bytes));
  }
}

void print_findings(const Plan& plan) {
  fmt::print("\neverything divides at tensor parallel {}{}\n", fmt::join(plan.dividing_sizes, ", "),
             plan.layout.expert_parallel ? ", with expert parallelism" : "");
  for (const Finding& finding : plan.findings)
    fmt::print("{}: {}\n", severity_name(finding.severity), finding.text);
}

json::object memory_to_json(const MemoryBudget& memory) {
  json::object weights;
  for (const MemoryKind kind : kKinds)
    weights[memory_kind_name(kind)] = memory.weights.of(kind);
  weights["total"] = memory.weights.total();
  return {{"total", memory.total},
          {"weights", std::move(weights)},
          {"workspace", memory.workspace},
          {"kv_cache", memory.kv_cache},
          {"free", memory.free()}};
}

json::array decode_to_json(const Plan& plan) {
  json::array rows;
  for (const DecodeForecast& row : plan.decode) {
    rows.push_back(
        json::object{{"batch", row.batch},
                     {"context", row.context},
                     {"distinct_experts", row.distinct_experts},
                     {"bytes_per_gpu", row.bytes},
                     {"multiply_adds", row.multiply_adds},
                     {"fits", row.batch * row.context <= plan.kv.tokens()},
                     {"least_seconds", number_or_null(row.seconds)},
                     {"most_tokens_per_second", number_or_null(row.tokens_per_second())}});
  }
  return rows;
}

json::array prefill_to_json(const Plan& plan) {
  json::array rows;
  for (const PrefillForecast& row : plan.prefill) {
    rows.push_back(json::object{{"tokens", row.tokens},
                                {"chunks", row.chunks},
                                {"bytes_per_gpu", row.bytes},
                                {"multiply_adds", row.multiply_adds},
                                {"least_read_seconds", number_or_null(row.read_seconds)},
                                {"least_compute_seconds", number_or_null(row.compute_seconds)}});
  }
  return rows;
}

json::array shards_to_json(const Plan& plan) {
  json::array rows;
  for (const auto& [weight, shard] : plan.shards) {
    rows.push_back(
        json::object{{"name", weight.name},
                     {"role", tensor_role_name(weight.role)},
                     {"kind", memory_kind_name(weight.kind())},
                     {"format", weight_format_name(weight.format)},
                     {"count", weight.count},
                     {"shape", json::array{weight.rows, weight.cols}},
                     {"cut_dim", shard.dim < 0 ? json::value(nullptr) : json::value(shard.dim)},
                     {"shape_per_gpu", json::array{shard.rows, shard.cols}},
                     {"count_per_gpu", shard.count},
                     {"bytes_per_gpu", shard.bytes}});
  }
  return rows;
}

json::array findings_to_json(const Plan& plan) {
  json::array list;
  for (const Finding& finding : plan.findings) {
    list.push_back(
        json::object{{"severity", severity_name(finding.severity)}, {"text", finding.text}});
  }
  return list;
}

}  // namespace

void print_plan(const PlannedModel& model, const PlanRequest& request, const Plan& plan) {
  print_head(model, request, plan);
  print_memory(request, plan.memory);
  print_capacity(plan);
  print_decode(plan);
  print_layouts(request, plan);
  print_shards(plan);
  print_findings(plan);
}

json::object plan_to_json(const PlannedModel& model, const PlanRequest& request, const Plan& plan) {
  return {{"model", model.source},
          {"parameters", model.parameters()},
          {"weight_bytes", model.weight_bytes()},
          {"skipped_bytes", model.skipped_bytes},
          {"formats_assumed", model.assumed},
          {"gpus", json::object{{"count", request.gpus.count}, {"bytes", request.gpus.bytes_each}}},
          {"tensor_parallel", plan.layout.tensor_parallel},
          {"expert_parallel", plan.layout.expert_parallel},
          {"replicas", plan.replicas},
          {"max_model_len", plan.max_model_len},
          {"memory_per_gpu", memory_to_json(plan.memory)},
          {"kv_cache", json::object{{"dtype", kv_dtype_name(plan.kv.dtype)},
                                    {"bytes_per_token", plan.kv.token_bytes_in_all},
                                    {"bytes_per_token_per_gpu", plan.kv.token_bytes},
                                    {"block_tokens", kBlockTokens},
                                    {"blocks", plan.kv.blocks},
                                    {"tokens", plan.kv.tokens()},
                                    {"full_length_requests", plan.kv.full_length_requests}}},
          {"decode", decode_to_json(plan)},
          {"prefill", prefill_to_json(plan)},
          {"layouts", layouts_to_json(plan)},
          {"shards", shards_to_json(plan)},
          {"dividing_tensor_parallel_sizes",
           json::array(plan.dividing_sizes.begin(), plan.dividing_sizes.end())},
          {"findings", findings_to_json(plan)}};
}

}  // namespace tetrad::plan
