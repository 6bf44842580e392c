// tetrad plan MODEL|CONFIG --gpus 8x32GiB: what a model takes on GPUs that need not be there.

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "byte_size_flag.h"
#include "cli_io.h"
#include "kernels/batch.h"
#include "loaded_model.h"
#include "number_flag.h"
#include "plan/plan.h"
#include "plan_output.h"
#include "verbs.h"

namespace tetrad {
namespace {

static_assert(plan::kBlockTokens == kKvBlockSize, "a plan counts the engine's blocks");

struct PlanFlags {
  std::string model;
  std::string gpus;
  std::string kv_cache_dtype = "auto";
  std::string weight_format;
  std::string attention_format;
  std::optional<double> bandwidth;  // GB/s
  std::optional<double> tflops;
  std::string link;
  std::optional<double> link_bandwidth;  // GB/s
  std::optional<double> link_latency;    // microseconds
  bool json = false;
  plan::PlanRequest request;
};

std::optional<WeightFormat> weight_format(const std::string& name) {
  for (const WeightFormat format :
       {WeightFormat::mxfp4_16, WeightFormat::fp8_block, WeightFormat::bf16}) {
    if (weight_format_name(format) == name) return format;
  }
  return std::nullopt;  // not given
}

std::optional<double> scaled(const std::optional<double>& number, double factor) {
  if (!number) return std::nullopt;
  return *number * factor;
}

/// The named connection, with what other flags say of it instead.
plan::Interconnect interconnect(const PlanFlags& flags) {
  plan::Interconnect link;
  for (const plan::KnownInterconnect& known : plan::known_interconnects()) {
    if (known.name == flags.link) link = {known.latency_seconds, known.bytes_per_second};
  }
  if (flags.link_bandwidth) link.bytes_per_second = *flags.link_bandwidth * 1e9;
  if (flags.link_latency) link.latency_seconds = *flags.link_latency * 1e-6;
  return link;
}

Result<plan::PlanRequest> make_request(const PlanFlags& flags) {
  plan::PlanRequest request = flags.request;
  if (request.max_model_len == 0) request.max_model_len.reset();  // auto
  auto gpus = plan::parse_gpu_set(flags.gpus);
  if (!gpus) return tl::unexpected(at_flag(std::move(gpus.error()), "--gpus"));
  request.gpus = *gpus;
  request.kv_cache_dtype = named_kv_cache_dtype(flags.kv_cache_dtype);  // none: auto
  request.rates = {.bytes_per_second = scaled(flags.bandwidth, 1e9),
                   .operations_per_second = scaled(flags.tflops, 1e12)};
  request.link = interconnect(flags);
  return request;
}

int run(const PlanFlags& flags) {
  const auto request = make_request(flags);
  if (!request) return report(request.error());
  const auto model =
      plan::open_planned_model(flags.model, {.weights = weight_format(flags.weight_format),
                                             .attention = weight_format(flags.attention_format)});
  if (!model) return report(model.error());
  const auto result = plan::make_plan(*model, *request);
  if (!result) return report(result.error());
  if (flags.json) {
    fmt::print("{}\n", to_json_text(plan::plan_to_json(*model, *request, *result)));
  } else {
    plan::print_plan(*model, *request, *result);
  }
  return result->has_errors() ? kExitFailed : kExitOk;
}

void add_memory_flags(CLI::App& verb, PlanFlags& flags) {
  plan::PlanRequest& request = flags.request;
  verb.add_option("--max-model-len", request.max_model_len,
                  "longest prompt and answer together, in tokens (130k, 128K); auto: the model's")
      ->transform(as_max_model_len())
      ->default_str("auto");
  verb.add_option("--kv-cache-dtype", flags.kv_cache_dtype,
                  "auto (fp8_e4m3 where the checkpoint has scales for it, else bf16), fp8_e4m3, "
                  "bf16 or float32")
      ->check(a_kv_cache_dtype())
      ->capture_default_str();
  verb.add_option("--gpu-memory-utilization", request.gpu_memory_utilization,
                  "share of a GPU that weights, workspace and KV cache may take")
      ->capture_default_str();
  verb.add_option("--kv-cache-memory,--kv-cache-memory-bytes", flags.request.kv_cache_memory,
                  "KV cache of one GPU (11.35GiB), instead of what the utilization leaves")
      ->transform(as_byte_size());
  verb.add_option("--max-num-seqs", request.limits.max_num_seqs, "requests computed together")
      ->capture_default_str();
  verb.add_option("--max-num-batched-tokens", request.limits.max_num_batched_tokens,
                  "tokens of one step")
      ->capture_default_str();
}

void add_forecast_flags(CLI::App& verb, PlanFlags& flags) {
  verb.add_option("--bandwidth", flags.bandwidth,
                  "memory bandwidth of one GPU in GB/s (10^9 bytes): gives the least times");
  verb.add_option("--tflops", flags.tflops,
                  "10^12 operations a second of one GPU at the precision used, two for a "
                  "multiply-add");
  std::vector<std::string> links;
  for (const plan::KnownInterconnect& known : plan::known_interconnects())
    links.emplace_back(known.name);
  verb.add_option(
          "--link", flags.link,
          fmt::format("what connects the GPUs, for the forecast: {}", fmt::join(links, ", ")))
      ->check(CLI::IsMember(links));
  verb.add_option("--link-bandwidth", flags.link_bandwidth,
                  "what a GPU sends to others in GB/s (10^9 bytes), one direction, instead of "
                  "--link's");
  verb.add_option("--link-latency", flags.link_latency,
                  "microseconds of one sum over the GPUs that carries next to nothing, instead of "
                  "--link's");
  verb.add_option("--batch", flags.request.batches,
                  "sequences decoded together, to forecast (default: 1, 8 and --max-num-seqs)");
  verb.add_option("--context", flags.request.context,
                  "tokens of each sequence, to forecast (default: 32768 or --max-model-len)");
}

}  // namespace

void add_verb_plan(CLI::App& app, int& exit_status) {
  CLI::App* verb = app.add_subcommand(
      "plan", "memory, KV capacity, least times and shards of a model on GPUs; needs none");
  auto flags = std::make_shared<PlanFlags>();
  verb->add_option("MODEL", flags->model,
                   "folder of a checkpoint, or a config.json (then formats are assumed)")
      ->required();
  verb->add_option("--gpus", flags->gpus,
                   "COUNTxSIZE, as 8x32GiB (1024^3 bytes each) or 8x32GB (1000^3)")
      ->required();
  verb->add_option("--tp,--tensor-parallel-size", flags->request.tensor_parallel,
                   "GPUs of one replica (default: all)");
  verb->add_flag("--ep,--enable-expert-parallel", flags->request.expert_parallel,
                 "experts go to the GPUs whole");
  add_memory_flags(*verb, *flags);
  add_forecast_flags(*verb, *flags);
  const auto formats = CLI::IsMember({"mxfp4_16", "fp8_block", "bf16"});
  verb->add_option("--weight-format", flags->weight_format,
                   "what to assume of a config.json: mxfp4_16 (default), fp8_block or bf16")
      ->check(formats);
  verb->add_option("--attention-format", flags->attention_format,
                   "the same for attention (default: as --weight-format)")
      ->check(formats);
  verb->add_flag("--json", flags->json, "one JSON object instead of text");
  verb->footer(R"(Examples:
  tetrad plan config.json --gpus 8x32GiB --bandwidth 640 --tflops 190 --link pcie5-p2p
  tetrad plan config.json --gpus 8x32GiB --kv-cache-memory 11.35GiB --max-model-len 180000
  tetrad plan models/tetrad-demo-mxfp4_16 --gpus 1x4GiB --json)");
  verb->callback([flags, &exit_status] { exit_status = run(*flags); });
}

}  // namespace tetrad
