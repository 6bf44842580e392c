#include "quant/quantize_plan.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/dtype.h"
#include "checkpoint/kv_scales.h"
#include "quant/name_pattern.h"

namespace tetrad {
namespace {

bool is_to_be_encoded(TensorRole role) {
  switch (role) {
    case TensorRole::attention_projection:
    case TensorRole::expert_w1:
    case TensorRole::expert_w2:
    case TensorRole::expert_w3:
      return true;
    case TensorRole::embedding:
    case TensorRole::lm_head:
    case TensorRole::norm:
    case TensorRole::router:
    case TensorRole::routing_bias:
      break;
  }
  return false;
}

bool is_already(TargetFormat wanted, WeightFormat format) {
  return target_format_name(wanted) == weight_format_name(format);
}

/// The patterns of --keep, and whether each has found something.
class KeptModules {
 public:
  static Result<KeptModules> parse(const std::vector<std::string>& patterns) {
    KeptModules kept;
    for (const std::string& text : patterns) {
      auto pattern = NamePattern::parse(text);
      if (!pattern) {
        pattern.error().param = "--keep";
        return tl::unexpected(std::move(pattern.error()).in("--keep"));
      }
      kept.patterns_.push_back({std::move(*pattern), false});
    }
    return kept;
  }

  Result<bool> contains(const std::string& module) {
    bool found = false;
    for (auto& [pattern, has_matched] : patterns_) {
      TETRAD_ASSIGN(const bool matches, pattern.matches(module));
      found = found || matches;
      has_matched = has_matched || matches;
    }
    return found;
  }

  Result<void> check_all_used() const {
    for (const auto& [pattern, has_matched] : patterns_) {
      if (has_matched) continue;
      return fail_param("--keep",
                        "--keep \"{}\" matches no module; they have names like "
                        "\"model.layers.0.self_attn.q_proj\", so for all of layer 0 write "
                        "\"model.layers.0.*\"",
                        pattern.text());
    }
    return {};
  }

 private:
  std::vector<std::pair<NamePattern, bool>> patterns_;
};

class Planner {
 public:
  Planner(const Checkpoint& source, const PlanOptions& options, KeptModules kept)
      : source_(source), options_(options), kept_(std::move(kept)) {
    for (const auto& [name, view] : source.tensors()) {
      unclaimed_.insert(name);
      plan_.source_bytes += static_cast<int64_t>(view.bytes.size());
    }
  }

  Result<QuantizePlan> run() {
    if (options_.measures_kv_scales) drop_kv_scales();
    for (const ExpectedTensor& expected : expected_tensors(source_.config())) {
      // Behind the attention of its layer, which is what an encoder has computed by then.
      if (options_.measures_kv_scales && expected.role == TensorRole::router) {
        add_kv_scales(expected.layer);
      }
      TETRAD_TRY(expected.is_matrix() ? add_matrix(expected) : add_vector(expected));
    }
    TETRAD_TRY(kept_.check_all_used());
    TETRAD_TRY(add_the_rest());
    return std::move(plan_);
  }

 private:
  static PlannedModule module_of(const ExpectedTensor& expected) {
    PlannedModule module;
    module.name = expected.name;
    module.role = expected.role;
    module.layer = expected.layer;
    module.expert = expected.expert;
    module.must_be_finite = true;
    return module;
  }

  Result<void> add_vector(const ExpectedTensor& expected) {
    TETRAD_TRY(source_.vector(expected.name, expected.rows));
    PlannedModule module = module_of(expected);
    module.source_tensors = {expected.name};
    carry(std::move(module));
    return {};
  }

  Result<void> add_matrix(const ExpectedTensor& expected) {
    TETRAD_ASSIGN(const WeightMatrix matrix,
                  source_.matrix(expected.name, expected.rows, expected.cols));
    TETRAD_ASSIGN(const bool is_kept, kept_.contains(expected.name));
    PlannedModule module = module_of(expected);
    module.source_tensors = source_.weight_tensors(expected.name);
    if (is_already(options_.format, matrix.format)) {
      return add_finished(std::move(module), matrix, is_kept);
    }
    if (is_to_be_encoded(expected.role)) {
      if (!is_kept) return encode(std::move(module), matrix, options_.format);
      plan_.kept_modules.push_back(expected.name);
    }
    if (!matrix.is_dense() || !has_own_tensors(module)) {
      return encode(std::move(module), matrix, TargetFormat::bf16);
    }
    carry(std::move(module));
    return {};
  }

  /// What is in the wanted format already.
  Result<void> add_finished(PlannedModule module, const WeightMatrix& matrix, bool is_kept) {
    if (!has_own_tensors(module) && (is_kept || options_.format == TargetFormat::bf16)) {
      return encode(std::move(module), matrix, TargetFormat::bf16);
    }
    const std::string_view format = target_format_name(options_.format);
    if (options_.format != TargetFormat::bf16 && !is_kept) {
      return fail(ErrorCode::invalid_argument,
                  "{} is quantized to {} already (module \"{}\"); quantize the BF16 or FP8 "
                  "checkpoint that it was made from, or have such modules carried over with --keep",
                  source_.folder().string(), format, module.name);
    }
    if (options_.format == TargetFormat::mxfp4_16 &&
        source_.quantization().codebook != kIq4NlCodebook) {
      return fail(ErrorCode::unsupported,
                  "module \"{}\" of {} has another codebook than what is written here, and a "
                  "checkpoint has one for all",
                  module.name, source_.folder().string());
    }
    if (options_.format != TargetFormat::bf16 && !stands_as_written(module, matrix)) {
      return encode(std::move(module), matrix, TargetFormat::bf16);
    }
    carry(std::move(module));
    return {};
  }

  /// Whether the tensors are named, shaped and packed as this program writes the wanted format, so
  /// that the config that goes with them tells how to read them.
  bool stands_as_written(const PlannedModule& module, const WeightMatrix& matrix) const {
    const auto layout = encoded_layout(options_.format, matrix.rows, matrix.cols);
    if (layout.size() != module.source_tensors.size()) return false;
    return matrix.nibble_order == NibbleOrder::low_first &&
           std::ranges::all_of(layout, [&](const TensorLayout& wanted) {
             const TensorView* tensor =
                 source_.find(fmt::format("{}.{}", module.name, wanted.suffix));
             return tensor != nullptr && tensor->dtype == wanted.dtype &&
                    tensor->shape == wanted.shape;
           });
  }

  /// Whether the weight stands under the module's own name, and not under another program's or in a
  /// tensor of all experts: then it can be carried over as it is.
  static bool has_own_tensors(const PlannedModule& module) {
    return std::ranges::all_of(module.source_tensors, [&](const std::string& name) {
      return name.starts_with(module.name + ".");
    });
  }

  Result<void> encode(PlannedModule module, const WeightMatrix& matrix, TargetFormat format) {
    TETRAD_TRY(check_channels(module.name, format, matrix.cols));
    module.source = matrix;
    module.format = format;
    for (TensorLayout& tensor : encoded_layout(format, matrix.rows, matrix.cols)) {
      module.tensors.push_back({fmt::format("{}.{}", module.name, tensor.suffix), tensor.dtype,
                                std::move(tensor.shape)});
    }
    add(std::move(module), format == options_.format ? plan_.quantized : plan_.dequantized, 1,
        matrix.rows * matrix.cols);
    return {};
  }

  void carry(PlannedModule module) {
    int64_t parameters = 0;
    for (const std::string& name : module.source_tensors) {
      const TensorView& tensor = *source_.find(name);
      module.tensors.push_back({name, tensor.dtype, tensor.shape});
      parameters += static_cast<int64_t>(tensor.bytes.size() / dtype_size(tensor.dtype));
    }
    const auto count = static_cast<int64_t>(module.tensors.size());
    add(std::move(module), plan_.carried, count, parameters);
  }

  void drop_kv_scales() {
    std::erase_if(unclaimed_, [this](const std::string& name) {
      const auto scale = parse_kv_scale_name(name, source_.config());
      return scale && scale->kind != KvScaleKind::other;
    });
    plan_.has_kv_scales = true;
  }

  void add_kv_scales(int64_t layer) {
    PlannedModule module;
    module.name = fmt::format("model.layers.{}.self_attn", layer);
    module.layer = layer;
    module.measures_kv_scales = true;
    for (const char* scale : {"k_scale", "v_scale"})
      module.tensors.push_back({fmt::format("{}.{}", module.name, scale), DType::f32, {1}});
    add(std::move(module), plan_.kv_scales, 2, 2);
  }

  Result<void> add_the_rest() {
    while (!unclaimed_.empty()) {
      const std::string name = *unclaimed_.begin();
      TETRAD_ASSIGN(const bool is_done, add_dequantized(name));
      if (is_done) continue;
      PlannedModule module;
      module.name = name;
      module.source_tensors = {name};
      carry(std::move(module));
      if (!parse_kv_scale_name(name) && !is_mtp_tensor(name, source_.config()))
        plan_.unknown_tensors.push_back(name);
    }
    // Scales of some layers, or of queries alone, announce no FP8 cache.
    if (!options_.measures_kv_scales) {
      plan_.has_kv_scales =
          read_kv_scales(source_).num_layers_with_scales() == source_.config().num_hidden_layers;
    }
    return {};
  }

  /// A matrix in FP8 that is not of the model itself (of a layer for multi-token prediction): in a
  /// dense checkpoint nothing would say how to read it.
  Result<bool> add_dequantized(const std::string& name) {
    constexpr std::string_view kWeight = ".weight";
    const TensorView& tensor = *source_.find(name);
    if (options_.format != TargetFormat::bf16 || !name.ends_with(kWeight) ||
        tensor.dtype != DType::f8_e4m3 || tensor.shape.size() != 2) {
      return false;
    }
    PlannedModule module;
    module.name = name.substr(0, name.size() - kWeight.size());
    TETRAD_ASSIGN(const WeightMatrix matrix,
                  source_.matrix(module.name, tensor.shape[0], tensor.shape[1]));
    module.source_tensors = source_.weight_tensors(module.name);
    if (!is_mtp_tensor(name, source_.config())) plan_.unknown_tensors.push_back(name);
    TETRAD_TRY(encode(std::move(module), matrix, TargetFormat::bf16));
    return true;
  }

  void add(PlannedModule module, PlannedPart& part, int64_t count, int64_t parameters) {
    for (const std::string& name : module.source_tensors)
      unclaimed_.erase(name);
    for (const TensorHeader& tensor : module.tensors)
      module.bytes += static_cast<int64_t>(tensor.bytes());
    part.count += count;
    part.parameters += parameters;
    part.bytes += module.bytes;
    plan_.bytes += module.bytes;
    const bool fits = !plan_.shards.empty() &&
                      plan_.shards.back().bytes + module.bytes <= options_.max_shard_bytes;
    if (!fits) plan_.shards.emplace_back();
    plan_.shards.back().bytes += module.bytes;
    plan_.shards.back().modules.push_back(std::move(module));
  }

  const Checkpoint& source_;
  const PlanOptions& options_;
  KeptModules kept_;
  std::set<std::string> unclaimed_;
  QuantizePlan plan_;
};

}  // namespace

int64_t QuantizePlan::num_modules() const {
  int64_t count = 0;
  for (const PlannedShard& shard : shards)
    count += static_cast<int64_t>(shard.modules.size());
  return count;
}

Result<QuantizePlan> plan_quantization(const Checkpoint& source, const PlanOptions& options) {
  if (options.max_shard_bytes <= 0) {
    return fail(ErrorCode::invalid_argument, "a shard of {} bytes can hold no tensor",
                options.max_shard_bytes);
  }
  TETRAD_ASSIGN(KeptModules kept, KeptModules::parse(options.keep));
  return Planner(source, options, std::move(kept)).run();
}

}  // namespace tetrad
