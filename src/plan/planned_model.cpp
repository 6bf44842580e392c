#include "plan/planned_model.h"

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

#include "base/mapped_file.h"

namespace tetrad::plan {
namespace {

/// Far above any model; below it no product of a plan overflows.
constexpr double kMaxParameters = 1e13;

/// "model.layers.7.x" and "…experts.12.w1" with a star for each number.
std::string class_name(std::string_view name) {
  std::string result;
  for (size_t at = 0; at < name.size();) {
    const size_t end = std::min(name.find('.', at), name.size());
    const std::string_view part = name.substr(at, end - at);
    const bool is_number = part.find_first_not_of("0123456789") == std::string_view::npos;
    if (at > 0) result += '.';
    result += is_number ? std::string_view("*") : part;
    at = end + 1;
  }
  return result;
}

Split split_of(const ExpectedTensor& tensor) {
  const std::string_view name = tensor.name;
  switch (tensor.role) {
    case TensorRole::embedding:
    case TensorRole::lm_head:
      return Split::vocabulary;
    case TensorRole::attention_projection:
      if (name.ends_with("q_proj")) return Split::heads;
      return name.ends_with("o_proj") ? Split::head_columns : Split::kv_heads;
    case TensorRole::norm:
      if (name.ends_with("q_norm.weight")) return Split::heads;
      return name.ends_with("k_norm.weight") ? Split::kv_heads : Split::none;
    case TensorRole::expert_w1:
    case TensorRole::expert_w3:
      return Split::expert_rows;
    case TensorRole::expert_w2:
      return Split::expert_columns;
    case TensorRole::router:
    case TensorRole::routing_bias:
      break;
  }
  return Split::none;
}

/// Collects tensors into classes, in the order in which the first of each class comes.
class Classes {
 public:
  void add(const ExpectedTensor& tensor, WeightFormat format, int64_t stored_bytes = 0) {
    add({.name = class_name(tensor.name),
         .role = tensor.role,
         .split = split_of(tensor),
         .format = format,
         .rows = tensor.rows,
         .cols = tensor.cols,
         .count = 1,
         .stored_bytes = stored_bytes});
  }

  void add(WeightClass tensor) {
    const auto same = std::ranges::find_if(classes_, [&](const WeightClass& other) {
      return other.format == tensor.format && other.rows == tensor.rows &&
             other.cols == tensor.cols && other.stored_bytes == tensor.stored_bytes &&
             other.name == tensor.name;
    });
    if (same == classes_.end()) {
      classes_.push_back(std::move(tensor));
    } else {
      ++same->count;
    }
  }

  std::vector<WeightClass> take() { return std::move(classes_); }

 private:
  std::vector<WeightClass> classes_;
};

Result<WeightFormat> dense_format(DType dtype, std::string_view tensor) {
  switch (dtype) {
    case DType::f32:
      return WeightFormat::f32;
    case DType::f16:
      return WeightFormat::f16;
    case DType::bf16:
      return WeightFormat::bf16;
    default:
      return fail(ErrorCode::unsupported, "tensor \"{}\" is {} where F32, F16 or BF16 is needed",
                  tensor, dtype_name(dtype));
  }
}

Result<void> add_stored(const Checkpoint& checkpoint, const ExpectedTensor& expected,
                        Classes& classes) {
  if (expected.is_matrix()) {
    TETRAD_ASSIGN(const WeightMatrix matrix,
                  checkpoint.matrix(expected.name, expected.rows, expected.cols));
    classes.add(expected, matrix.format, matrix.has_own_layout() ? matrix.total_bytes() : 0);
    return {};
  }
  TETRAD_TRY(checkpoint.vector(expected.name, expected.rows));
  TETRAD_ASSIGN(const WeightFormat format,
                dense_format(checkpoint.find(expected.name)->dtype, expected.name));
  classes.add(expected, format);
  return {};
}

/// Whether all layers have scales for both halves of an FP8 KV cache; their tensors join `classes`.
Result<bool> add_kv_scales(const Checkpoint& checkpoint, Classes& classes) {
  std::set<int64_t> key_layers;
  std::set<int64_t> value_layers;
  for (const auto& [name, view] : checkpoint.tensors()) {
    const auto scale = parse_kv_scale_name(name, checkpoint.config());
    if (!scale) continue;
    TETRAD_ASSIGN(const WeightFormat format, dense_format(view.dtype, name));
    classes.add({.name = class_name(name),
                 .format = format,
                 .rows = static_cast<int64_t>(view.bytes.size() / dtype_size(view.dtype)),
                 .count = 1});
    const bool both = scale->kind == KvScaleKind::both;
    if (both || scale->kind == KvScaleKind::key) key_layers.insert(scale->layer);
    if (both || scale->kind == KvScaleKind::value) value_layers.insert(scale->layer);
  }
  const auto layers = static_cast<size_t>(checkpoint.config().num_hidden_layers);
  return key_layers.size() == layers && value_layers.size() == layers;
}

Result<WeightFormat> assumed_format(const ExpectedTensor& tensor, const AssumedFormats& assumed) {
  const WeightFormat weights = assumed.weights.value_or(WeightFormat::mxfp4_16);
  WeightFormat format = WeightFormat::bf16;
  switch (tensor.role) {
    case TensorRole::expert_w1:
    case TensorRole::expert_w2:
    case TensorRole::expert_w3:
      format = weights;
      break;
    case TensorRole::attention_projection:
      format = assumed.attention.value_or(weights);
      break;
    case TensorRole::router:
      if (weights == WeightFormat::fp8_block) format = WeightFormat::f32;
      break;
    case TensorRole::routing_bias:
      format = WeightFormat::f32;
      break;
    case TensorRole::embedding:
    case TensorRole::lm_head:
    case TensorRole::norm:
      break;
  }
  if (format == WeightFormat::mxfp4_16 && tensor.cols % kMxfp4GroupSize != 0) {
    return fail(ErrorCode::unsupported,
                "{} [{}, {}] cannot be mxfp4_16: its columns are not a multiple of {}", tensor.name,
                tensor.rows, tensor.cols, kMxfp4GroupSize);
  }
  return format;
}

/// A config of absurd sizes must give an error, not a wrapped-around number.
Result<void> check_size(const std::vector<ExpectedTensor>& tensors) {
  double parameters = 0;
  for (const ExpectedTensor& tensor : tensors)
    parameters += static_cast<double>(tensor.rows) * static_cast<double>(tensor.cols);
  if (parameters <= kMaxParameters) return {};
  return fail(ErrorCode::corrupt_data,
              "its sizes make a model of {:.3g} parameters, more than {:g}", parameters,
              kMaxParameters);
}

bool has_weights(const std::filesystem::path& folder) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json")) return true;
  }
  return false;
}

Result<PlannedModel> from_config_file(const std::filesystem::path& path,
                                      const AssumedFormats& assumed) {
  const auto read = [&]() -> Result<PlannedModel> {
    TETRAD_ASSIGN(const std::string text, read_text_file(path));
    TETRAD_ASSIGN(const json::value value, parse_json(text));
    TETRAD_ASSIGN(const ModelConfig config, ModelConfig::parse(value));
    return planned_model(config, assumed);
  };
  auto model = read();
  if (model) {
    model->source = path.string();
    return model;
  }
  // read_text_file has named the file already.
  if (model.error().message.find(path.string()) != std::string::npos) return model;
  return tl::unexpected(std::move(model.error()).in(path.string()));
}

}  // namespace

std::string_view memory_kind_name(MemoryKind kind) {
  switch (kind) {
    case MemoryKind::experts:
      return "experts";
    case MemoryKind::attention:
      return "attention";
    case MemoryKind::embeddings:
      return "embeddings";
    case MemoryKind::router_and_norms:
      return "router_and_norms";
  }
  return "unknown";
}

MemoryKind WeightClass::kind() const {
  if (is_expert()) return MemoryKind::experts;
  if (split == Split::vocabulary) return MemoryKind::embeddings;
  return role == TensorRole::attention_projection ? MemoryKind::attention
                                                  : MemoryKind::router_and_norms;
}

int64_t WeightClass::bytes() const {
  return count * (stored_bytes > 0 ? stored_bytes : tensor_bytes(format, rows, cols));
}

int64_t tensor_bytes(WeightFormat format, int64_t rows, int64_t cols) {
  return WeightMatrix{.format = format, .rows = rows, .cols = cols}.total_bytes();
}

int64_t PlannedModel::parameters() const {
  int64_t sum = 0;
  for (const WeightClass& weight : weights)
    sum += weight.parameters();
  return sum;
}

int64_t PlannedModel::weight_bytes() const {
  int64_t sum = 0;
  for (const WeightClass& weight : weights)
    sum += weight.bytes();
  return sum;
}

Result<PlannedModel> planned_model(const Checkpoint& checkpoint) {
  Classes classes;
  for (const ExpectedTensor& expected : expected_tensors(checkpoint.config())) {
    TETRAD_TRY(add_stored(checkpoint, expected, classes));
  }
  TETRAD_ASSIGN(const bool has_kv_scales, add_kv_scales(checkpoint, classes));
  PlannedModel model{.source = checkpoint.folder().string(),
                     .config = checkpoint.config(),
                     .weights = classes.take(),
                     .has_kv_scales = has_kv_scales};
  int64_t stored = 0;
  for (const auto& [name, view] : checkpoint.tensors())
    stored += static_cast<int64_t>(view.bytes.size());
  model.skipped_bytes = stored - model.weight_bytes();
  return model;
}

Result<PlannedModel> planned_model(const ModelConfig& config, const AssumedFormats& assumed) {
  const std::vector<ExpectedTensor> tensors = expected_tensors(config);
  TETRAD_TRY(check_size(tensors));
  Classes classes;
  for (const ExpectedTensor& tensor : tensors) {
    TETRAD_ASSIGN(const WeightFormat format, assumed_format(tensor, assumed));
    classes.add(tensor, format);
  }
  // A checkpoint of the assumed format carries calibrated scales (mxfp4_16 spec, section 5).
  return PlannedModel{
      .config = config, .weights = classes.take(), .assumed = true, .has_kv_scales = true};
}

Result<PlannedModel> open_planned_model(const std::filesystem::path& path,
                                        const AssumedFormats& assumed) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return from_config_file(path, assumed);
  if (!has_weights(path)) return from_config_file(path / "config.json", assumed);
  if (assumed.weights || assumed.attention) {
    return fail(ErrorCode::invalid_argument,
                "{} has tensors, which say their formats themselves; to assume others, give the "
                "path of its config.json",
                path.string());
  }
  TETRAD_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(path));
  return planned_model(checkpoint);
}

}  // namespace tetrad::plan
