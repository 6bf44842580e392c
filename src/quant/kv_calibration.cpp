#include "quant/kv_calibration.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/sequence_runner.h"

namespace tetrad {
namespace {

constexpr float kMargin = 1.10f;
constexpr float kKeyConstant = 200.0f;
constexpr float kValueConstant = 100.0f;

/// Raises `amax` to the largest magnitude in `tensor`; a NaN counts as infinite.
void widen(float& amax, Activations tensor) {
  for (int64_t i = 0; i < tensor.rows * tensor.cols; ++i) {
    const float magnitude = std::abs(tensor.data[i]);
    amax =
        std::isnan(magnitude) ? std::numeric_limits<float>::infinity() : std::max(amax, magnitude);
  }
}

float scale_of(float amax, float constant) {
  return amax > 0 ? amax * kMargin / constant : 1.0f;
}

}  // namespace

void KvRange::see_keys(Activations keys) {
  widen(k_, keys);
}

void KvRange::see_values(Activations values) {
  widen(v_, values);
}

Result<KvScales> KvRange::scales(int64_t layer) const {
  if (!std::isfinite(k_) || !std::isfinite(v_)) {
    return fail(ErrorCode::corrupt_data,
                "layer {} has keys up to {} and values up to {}: this model cannot be calibrated",
                layer, k_, v_);
  }
  return KvScales{scale_of(k_, kKeyConstant), scale_of(v_, kValueConstant)};
}

Result<void> check_calibration_text(const ModelConfig& config, std::span<const int32_t> ids,
                                    int64_t window) {
  if (window < 1 || window > config.max_position_embeddings) {
    return fail(ErrorCode::invalid_argument,
                "a window of {} tokens is outside the model's 1 to {} positions", window,
                config.max_position_embeddings);
  }
  if (ids.empty()) return fail(ErrorCode::invalid_argument, "the calibration text is empty");
  return {};
}

Result<std::vector<KvScales>> calibrate_kv_scales(MiniMaxM2& model, std::span<const int32_t> ids,
                                                  int64_t window) {
  TETRAD_TRY(check_calibration_text(model.config(), ids, window));
  std::vector<KvRange> ranges(static_cast<size_t>(model.config().num_hidden_layers));
  const Observer observer = [&](std::string_view name, int64_t layer, Activations tensor) {
    if (name == "k") ranges[static_cast<size_t>(layer)].see_keys(tensor);
    if (name == "v") ranges[static_cast<size_t>(layer)].see_values(tensor);
  };
  TETRAD_ASSIGN(SequenceRunner runner, SequenceRunner::create(model, {DType::f32, {}}, window));
  while (!ids.empty()) {
    const auto count = std::min(ids.size(), static_cast<size_t>(window));
    runner.reset();
    TETRAD_TRY(runner.append(ids.first(count), SequenceRunner::Logits::last_token, &observer));
    ids = ids.subspan(count);
  }
  std::vector<KvScales> scales;
  for (size_t layer = 0; layer < ranges.size(); ++layer) {
    TETRAD_ASSIGN(const KvScales measured, ranges[layer].scales(static_cast<int64_t>(layer)));
    scales.push_back(measured);
  }
  return scales;
}

}  // namespace tetrad
