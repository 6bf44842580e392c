// tetrad inspect MODEL: what a checkpoint holds, in which formats, and what is wrong with it.

#include <fmt/format.h>

#include <memory>
#include <string>

#include "base/percent.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/survey.h"
#include "cli_io.h"
#include "verbs.h"

namespace tetrad {
namespace {

struct InspectFlags {
  std::string model;
  bool json = false;
  bool tensors = false;
};

/// Findings printed for a person; the JSON output has them all.
constexpr size_t kShownFindings = 30;

int64_t file_bytes(const Checkpoint& checkpoint) {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : checkpoint.tensors())
    bytes += static_cast<int64_t>(tensor.bytes.size());
  return bytes;
}

std::string method_name(const Checkpoint& checkpoint) {
  const std::string& method = checkpoint.quantization().quant_method;
  return method.empty() ? "none" : method;
}

void print_config(const Checkpoint& checkpoint) {
  const ModelConfig& config = checkpoint.config();
  fmt::print("{}\n", checkpoint.folder().string());
  fmt::print("  layers         {}, hidden size {}, vocabulary {}, up to {} positions\n",
             config.num_hidden_layers, config.hidden_size, config.vocab_size,
             config.max_position_embeddings);
  fmt::print("  attention      {} heads and {} KV heads of {}, rotary {} with theta {}\n",
             config.num_attention_heads, config.num_key_value_heads, config.head_dim,
             config.rotary_dim, config.rope_theta);
  fmt::print("  experts        {} of width {}, {} for a token\n", config.num_local_experts,
             config.intermediate_size, config.num_experts_per_tok);
  fmt::print("  quant_method   {}\n", method_name(checkpoint));
  fmt::print("  files          {}, with {} tensors of {} bytes\n", checkpoint.shards().size(),
             checkpoint.tensors().size(), file_bytes(checkpoint));
}

void print_totals(std::string_view name, const SizeTotals& totals) {
  fmt::print("{:<12} {:>9} {:>16} {:>16} {:>12.3f}\n", name, totals.count, totals.parameters,
             totals.bytes, totals.bits_per_weight());
}

void print_survey(const Checkpoint& checkpoint, const Survey& found) {
  fmt::print("\n{:<12} {:>9} {:>16} {:>16} {:>12}\n", "format", "count", "parameters", "bytes",
             "bits/weight");
  for (const auto& [format, totals] : found.matrices)
    print_totals(weight_format_name(format), totals);
  print_totals("vectors", found.vectors);
  print_totals("total", found.total);
  fmt::print("\n");
  for (const auto& [format, scales] : found.scales) {
    fmt::print("{} scales: {}, {:.2f} % negative, {:.2f} % subnormal, {:.2f} % zero\n",
               weight_format_name(format), scales.count, percent(scales.negative, scales.count),
               percent(scales.subnormal, scales.count), percent(scales.zero, scales.count));
  }
  const int64_t layers = checkpoint.config().num_hidden_layers;
  fmt::print("KV cache scales: keys in {} of {} layers, values in {} of {}\n",
             found.layers_with_k_scale, layers, found.layers_with_v_scale, layers);
  if (found.skipped_mtp.count > 0) {
    fmt::print("skipped: {} tensors of {} bytes of multi-token-prediction layers\n",
               found.skipped_mtp.count, found.skipped_mtp.bytes);
  }
}

void print_findings(const Survey& found) {
  for (size_t i = 0; i < found.findings.size() && i < kShownFindings; ++i)
    fmt::print("{}: {}\n", severity_name(found.findings[i].severity), found.findings[i].text);
  if (found.findings.size() > kShownFindings) fmt::print("…\n");
  fmt::print("{} errors, {} warnings\n", found.num_errors, found.num_warnings);
}

void print_tensors(const Checkpoint& checkpoint) {
  fmt::print("\n");
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    fmt::print("{} {} [{}] {} at {}\n", name, dtype_name(tensor.dtype),
               fmt::join(tensor.shape, ", "), checkpoint.shard_of(name),
               checkpoint.file_offset_of(name));
  }
}

json::object to_json(const SizeTotals& totals) {
  return {{"count", totals.count},
          {"parameters", totals.parameters},
          {"bytes", totals.bytes},
          {"bits_per_weight", totals.bits_per_weight()}};
}

json::object to_json(const ScaleStatistics& scales) {
  return {{"count", scales.count},
          {"negative", scales.negative},
          {"subnormal", scales.subnormal},
          {"zero", scales.zero},
          {"not_finite", scales.not_finite}};
}

json::object to_json(const ModelConfig& config) {
  return {{"vocab_size", config.vocab_size},
          {"hidden_size", config.hidden_size},
          {"num_hidden_layers", config.num_hidden_layers},
          {"num_attention_heads", config.num_attention_heads},
          {"num_key_value_heads", config.num_key_value_heads},
          {"head_dim", config.head_dim},
          {"intermediate_size", config.intermediate_size},
          {"num_local_experts", config.num_local_experts},
          {"num_experts_per_tok", config.num_experts_per_tok},
          {"rotary_dim", config.rotary_dim},
          {"rope_theta", config.rope_theta},
          {"rms_norm_eps", config.rms_norm_eps},
          {"max_position_embeddings", config.max_position_embeddings},
          {"num_mtp_modules", config.num_mtp_modules}};
}

json::array tensors_to_json(const Checkpoint& checkpoint) {
  json::array list;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    list.push_back(json::object{{"name", name},
                                {"dtype", dtype_name(tensor.dtype)},
                                {"shape", json::array(tensor.shape.begin(), tensor.shape.end())},
                                {"file", checkpoint.shard_of(name)},
                                {"offset", checkpoint.file_offset_of(name)},
                                {"bytes", tensor.bytes.size()}});
  }
  return list;
}

json::array findings_to_json(const Survey& found) {
  json::array list;
  for (const Finding& finding : found.findings)
    list.push_back(
        json::object{{"severity", severity_name(finding.severity)}, {"text", finding.text}});
  return list;
}

json::object to_json(const Checkpoint& checkpoint, const Survey& found) {
  json::object formats;
  for (const auto& [format, totals] : found.matrices)
    formats[weight_format_name(format)] = to_json(totals);
  json::object scales;
  for (const auto& [format, statistics] : found.scales)
    scales[weight_format_name(format)] = to_json(statistics);
  return {{"model", checkpoint.folder().string()},
          {"config", to_json(checkpoint.config())},
          {"quant_method", method_name(checkpoint)},
          {"files", json::array(checkpoint.shards().begin(), checkpoint.shards().end())},
          {"formats", std::move(formats)},
          {"vectors", to_json(found.vectors)},
          {"total", to_json(found.total)},
          {"scales", std::move(scales)},
          {"kv_scales", json::object{{"layers_with_k_scale", found.layers_with_k_scale},
                                     {"layers_with_v_scale", found.layers_with_v_scale}}},
          {"skipped_mtp", to_json(found.skipped_mtp)},
          {"extra_tensors", json::array(found.extra_tensors.begin(), found.extra_tensors.end())},
          {"errors", found.num_errors},
          {"warnings", found.num_warnings},
          {"findings", findings_to_json(found)}};
}

int inspect(const InspectFlags& flags) {
  const auto checkpoint = Checkpoint::open(flags.model);
  if (!checkpoint) return report(checkpoint.error());
  const Survey found = survey(*checkpoint);
  if (flags.json) {
    json::object object = to_json(*checkpoint, found);
    if (flags.tensors) object["tensors"] = tensors_to_json(*checkpoint);
    fmt::print("{}\n", to_json_text(object));
  } else {
    print_config(*checkpoint);
    print_survey(*checkpoint, found);
    print_findings(found);
    if (flags.tensors) print_tensors(*checkpoint);
  }
  return found.num_errors == 0 ? kExitOk : kExitFailed;
}

}  // namespace

void add_verb_inspect(CLI::App& app, int& exit_status) {
  CLI::App* verb =
      app.add_subcommand("inspect", "tensors, formats and bits per weight of a checkpoint; checks");
  auto flags = std::make_shared<InspectFlags>();
  verb->add_option("MODEL", flags->model, "folder of a MiniMax-M2 checkpoint")->required();
  verb->add_flag("--json", flags->json, "one JSON object instead of text");
  verb->add_flag("--tensors", flags->tensors, "list every tensor with dtype, shape, file, offset");
  verb->callback([flags, &exit_status] { exit_status = inspect(*flags); });
}

}  // namespace tetrad
