#include "checkpoint/survey.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <set>
#include <string_view>
#include <utility>

#include "checkpoint/architecture.h"
#include "checkpoint/dense_values.h"
#include "checkpoint/stray_tensors.h"

namespace tetrad {
namespace {

/// Adds one scale to the statistics.
void count_scale(float scale, float smallest_normal, ScaleStatistics& statistics) {
  ++statistics.count;
  if (!std::isfinite(scale)) {
    ++statistics.not_finite;
  } else if (scale == 0) {
    ++statistics.zero;
  } else {
    if (scale < 0) ++statistics.negative;
    if (std::abs(scale) < smallest_normal) ++statistics.subnormal;
  }
}

/// The least magnitude of a scale that has all its bits.
float smallest_normal(DType dtype) {
  switch (dtype) {
    case DType::f16:
      return std::ldexp(1.0f, -14);
    case DType::f8_e4m3:
      return std::ldexp(1.0f, -6);
    case DType::f8_e8m0:
      return std::ldexp(1.0f, -127);  // a power of two without a fraction
    default:
      return std::numeric_limits<float>::min();
  }
}

/// Reads the scales of one matrix.
ScaleStatistics read_scales(const WeightMatrix& matrix) {
  ScaleStatistics statistics;
  const DType dtype = matrix.layout_of_scales().dtype;
  const float smallest = smallest_normal(dtype);
  for (int64_t i = 0; i < matrix.num_scales(); ++i)
    count_scale(read_scale(dtype, matrix.scales, i), smallest, statistics);
  return statistics;
}

std::string_view what_is_transposed(const WeightMatrix& matrix) {
  if (!matrix.scale_layout.transposed) return "codes are";
  return matrix.codes_transposed ? "codes and scales are" : "scales are";
}

/// Formats whose scales have a sign by design.
bool may_be_negative(WeightFormat format) {
  return format == WeightFormat::mxfp4_16 || format == WeightFormat::codebook4;
}

void add(ScaleStatistics& to, const ScaleStatistics& from) {
  to.count += from.count;
  to.negative += from.negative;
  to.subnormal += from.subnormal;
  to.zero += from.zero;
  to.not_finite += from.not_finite;
}

void add(SizeTotals& to, int64_t parameters, int64_t bytes) {
  ++to.count;
  to.parameters += parameters;
  to.bytes += bytes;
}

/// Elements of a stored tensor; its header was checked, so the product fits.
int64_t num_elements(const TensorView& tensor) {
  return static_cast<int64_t>(tensor.bytes.size() / dtype_size(tensor.dtype));
}

class Surveyor {
 public:
  explicit Surveyor(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  Survey run() {
    for (const std::string& oddity : checkpoint_.oddities())
      report(Severity::warning, oddity);
    for (const ExpectedTensor& expected : expected_tensors(checkpoint_.config())) {
      if (expected.is_matrix()) {
        look_at_matrix(expected);
      } else {
        look_at_vector(expected);
      }
    }
    look_at_the_rest();
    look_at_strays();
    return std::move(survey_);
  }

 private:
  void report(Severity severity, std::string text) {
    ++(severity == Severity::error ? survey_.num_errors : survey_.num_warnings);
    if (survey_.findings.size() < Survey::kMaxFindings) {
      survey_.findings.push_back({severity, std::move(text)});
    }
  }

  void look_at_matrix(const ExpectedTensor& expected) {
    const auto matrix = checkpoint_.matrix(expected.name, expected.rows, expected.cols);
    if (!matrix) return report(Severity::error, matrix.error().message);
    const int64_t parameters = matrix->rows * matrix->cols;
    add(survey_.matrices[matrix->format], parameters, matrix->total_bytes());
    add(survey_.total, parameters, matrix->total_bytes());
    if (matrix->scales != nullptr) look_at_scales(expected.name, *matrix);
    if (matrix->codes_transposed || matrix->scale_layout.transposed) {
      report(Severity::warning, fmt::format("module \"{}\": its {} stored transposed",
                                            expected.name, what_is_transposed(*matrix)));
    }
  }

  void look_at_scales(const std::string& module, const WeightMatrix& matrix) {
    const ScaleStatistics statistics = read_scales(matrix);
    add(survey_.scales[matrix.format], statistics);
    if (statistics.not_finite > 0) {
      report(Severity::error, fmt::format("module \"{}\": {} of its {} scales are NaN or infinite",
                                          module, statistics.not_finite, statistics.count));
    }
    if (!may_be_negative(matrix.format) && statistics.negative > 0) {
      report(Severity::warning, fmt::format("module \"{}\": {} of its {} scales are negative",
                                            module, statistics.negative, statistics.count));
    }
  }

  void look_at_vector(const ExpectedTensor& expected) {
    const auto values = checkpoint_.vector(expected.name, expected.rows);
    if (!values) return report(Severity::error, values.error().message);
    const auto bytes = static_cast<int64_t>(checkpoint_.find(expected.name)->bytes.size());
    add(survey_.vectors, expected.rows, bytes);
    add(survey_.total, expected.rows, bytes);
  }

  void look_at_the_rest() {
    std::set<int64_t> k_layers;
    std::set<int64_t> v_layers;
    for (const auto& [name, tensor] : checkpoint_.tensors()) {
      if (is_mtp_tensor(name, checkpoint_.config())) {
        add(survey_.skipped_mtp, num_elements(tensor), static_cast<int64_t>(tensor.bytes.size()));
        continue;
      }
      if (const auto scale = parse_kv_scale_name(name, checkpoint_.config())) {
        const bool both = scale->kind == KvScaleKind::both;
        if (both || scale->kind == KvScaleKind::key) k_layers.insert(scale->layer);
        if (both || scale->kind == KvScaleKind::value) v_layers.insert(scale->layer);
        look_at_kv_scale(name, tensor);
      }
    }
    survey_.layers_with_k_scale = static_cast<int64_t>(k_layers.size());
    survey_.layers_with_v_scale = static_cast<int64_t>(v_layers.size());
    report_missing_kv_scales();
  }

  void look_at_strays() {
    for (const std::string_view name : stray_tensors(checkpoint_)) {
      const TensorView& tensor = *checkpoint_.find(name);
      survey_.extra_tensors.emplace_back(name);
      report(Severity::error, fmt::format("{}: tensor \"{}\" {} [{}] does not belong to the model",
                                          checkpoint_.shard_of(name), name,
                                          dtype_name(tensor.dtype), fmt::join(tensor.shape, ", ")));
    }
  }

  /// One value for the layer or one for each KV head (mxfp4_16 spec, section 5).
  void look_at_kv_scale(std::string_view name, const TensorView& tensor) {
    const auto values = dense_values(tensor);
    bool good =
        values && (values->size() == 1 ||
                   std::cmp_equal(values->size(), checkpoint_.config().num_key_value_heads));
    for (size_t i = 0; good && i < values->size(); ++i)
      good = std::isfinite((*values)[i]) && (*values)[i] > 0;
    if (good) return;
    report(Severity::warning,
           fmt::format("{}: \"{}\" {} [{}] does not hold one positive scale for the layer or for "
                       "each KV head",
                       checkpoint_.shard_of(name), name, dtype_name(tensor.dtype),
                       fmt::join(tensor.shape, ", ")));
  }

  /// None at all is an ordinary checkpoint; some are a damaged one.
  void report_missing_kv_scales() {
    const int64_t layers = checkpoint_.config().num_hidden_layers;
    const int64_t k = survey_.layers_with_k_scale;
    const int64_t v = survey_.layers_with_v_scale;
    if ((k == 0 && v == 0) || (k == layers && v == layers)) return;
    report(Severity::warning,
           fmt::format("of {} layers only {} have a scale for keys and {} one for values in the KV "
                       "cache",
                       layers, k, v));
  }

  const Checkpoint& checkpoint_;
  Survey survey_;
};

}  // namespace

std::string_view severity_name(Severity severity) {
  return severity == Severity::error ? "error" : "warning";
}

double SizeTotals::bits_per_weight() const {
  return parameters == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters);
}

Survey survey(const Checkpoint& checkpoint) {
  return Surveyor(checkpoint).run();
}

}  // namespace tetrad
