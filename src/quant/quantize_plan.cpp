#include "quant/quantize_plan.h"

#include <set>
#include <utility>

#include "base/dtype.h"
#include "checkpoint/module_tensors.h"

namespace tetrad {
namespace {

bool is_quantized(TensorRole role) {
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

int64_t num_elements(const TensorView& tensor) {
  return static_cast<int64_t>(tensor.bytes.size() / dtype_size(tensor.dtype));
}

class Planner {
 public:
  Planner(const Checkpoint& source, int64_t max_shard_bytes, KvScalesFrom kv_scales)
      : source_(source), max_shard_bytes_(max_shard_bytes), kv_scales_(kv_scales) {
    for (const auto& [name, view] : source.tensors()) {
      unclaimed_.insert(name);
      plan_.source_bytes += static_cast<int64_t>(view.bytes.size());
    }
  }

  Result<QuantizePlan> run() {
    for (const ExpectedTensor& expected : expected_tensors(source_.config())) {
      if (!expected.is_matrix()) {
        TETRAD_TRY(source_.vector(expected.name, expected.rows));
        carry(expected.name, {expected.name});
        continue;
      }
      TETRAD_ASSIGN(const WeightMatrix matrix,
                    source_.matrix(expected.name, expected.rows, expected.cols));
      TETRAD_TRY(check_matrix(expected, matrix));
      if (is_quantized(expected.role)) {
        quantize(expected, matrix);
      } else {
        carry(expected.name, weight_tensors(expected.name));
      }
    }
    if (kv_scales_ == KvScalesFrom::calibration) replace_kv_scales();
    carry_the_rest();
    return std::move(plan_);
  }

 private:
  Result<void> check_matrix(const ExpectedTensor& expected, const WeightMatrix& matrix) const {
    if (matrix.format == WeightFormat::mxfp4_16) {
      return fail(ErrorCode::invalid_argument,
                  "{} is quantized to mxfp4_16 already (module \"{}\"); quantize the BF16 or FP8 "
                  "checkpoint that it was made from",
                  source_.folder().string(), expected.name);
    }
    if (is_quantized(expected.role) && expected.cols % kMxfp4GroupSize != 0) {
      return fail(ErrorCode::unsupported,
                  "module \"{}\" has {} input channels, which mxfp4_16 cannot cut into groups of "
                  "{}",
                  expected.name, expected.cols, kMxfp4GroupSize);
    }
    return {};
  }

  /// Names of the tensors that hold the weight itself; scales of the KV cache can have names
  /// inside a module too.
  std::vector<std::string> weight_tensors(const std::string& module) const {
    std::vector<std::string> names;
    for (const auto& [suffix, view] : tensors_of_module(source_.tensors(), module)) {
      if (suffix == "weight" || suffix == "weight_scale_inv") {
        names.push_back(fmt::format("{}.{}", module, suffix));
      }
    }
    return names;
  }

  void quantize(const ExpectedTensor& expected, const WeightMatrix& matrix) {
    for (const std::string& name : weight_tensors(expected.name))
      unclaimed_.erase(name);
    WeightMatrix quantized = matrix;
    quantized.format = WeightFormat::mxfp4_16;
    ++plan_.quantized_matrices;
    plan_.quantized_parameters += matrix.rows * matrix.cols;
    add({expected.name, expected.role, matrix, {}, quantized.total_bytes()});
  }

  void carry(const std::string& module, std::vector<std::string> tensors) {
    PlannedModule planned;
    planned.name = module;
    for (const std::string& name : tensors) {
      const TensorView& tensor = *source_.find(name);
      unclaimed_.erase(name);
      ++plan_.carried_tensors;
      plan_.carried_parameters += num_elements(tensor);
      planned.bytes += static_cast<int64_t>(tensor.bytes.size());
    }
    planned.carried_tensors = std::move(tensors);
    add(std::move(planned));
  }

  void replace_kv_scales() {
    const int64_t num_layers = source_.config().num_hidden_layers;
    std::erase_if(unclaimed_, [this](const std::string& name) {
      const auto scale = parse_kv_scale_name(name, source_.config());
      return scale && scale->kind != KvScaleKind::other;
    });
    for (int64_t layer = 0; layer < num_layers; ++layer) {
      PlannedModule planned;
      planned.name = fmt::format("model.layers.{}.self_attn", layer);
      planned.kv_scales_of_layer = layer;
      planned.bytes = 2 * int64_t{sizeof(float)};
      add(std::move(planned));
    }
    plan_.has_kv_scales = true;
    plan_.measured_kv_scales = 2 * num_layers;
  }

  void carry_the_rest() {
    const std::set<std::string> rest = std::exchange(unclaimed_, {});
    for (const std::string& name : rest) {
      carry(name, {name});
      if (parse_kv_scale_name(name)) {
        plan_.has_kv_scales = true;
      } else if (!is_mtp_tensor(name, source_.config())) {
        plan_.unknown_tensors.push_back(name);
      }
    }
  }

  void add(PlannedModule module) {
    const bool fits =
        !plan_.shards.empty() && plan_.shards.back().bytes + module.bytes <= max_shard_bytes_;
    if (!fits) plan_.shards.emplace_back();
    plan_.shards.back().bytes += module.bytes;
    plan_.bytes += module.bytes;
    plan_.shards.back().modules.push_back(std::move(module));
  }

  const Checkpoint& source_;
  int64_t max_shard_bytes_;
  KvScalesFrom kv_scales_;
  std::set<std::string> unclaimed_;
  QuantizePlan plan_;
};

}  // namespace

Result<QuantizePlan> plan_quantization(const Checkpoint& source, int64_t max_shard_bytes,
                                       KvScalesFrom kv_scales) {
  if (max_shard_bytes <= 0) {
    return fail(ErrorCode::invalid_argument, "a shard of {} bytes can hold no tensor",
                max_shard_bytes);
  }
  return Planner(source, max_shard_bytes, kv_scales).run();
}

}  // namespace tetrad
