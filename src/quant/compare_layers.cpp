#include "quant/compare_layers.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tetrad {
namespace {

constexpr std::string_view kExperts = "router_index";

/// Index into kComparedOutputs, or its size for other tensors.
size_t output_index(std::string_view name) {
  return static_cast<size_t>(std::ranges::find(kComparedOutputs, name) - kComparedOutputs.begin());
}

void add_row(std::span<const float> reference, std::span<const float> model, SquaredError& error) {
  double difference = 0;
  double squares = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double r = reference[i];
    const double d = model[i] - r;
    difference += d * d;
    squares += r * r;
  }
  error.difference += difference;
  error.reference += squares;
}

bool same_set(std::span<const float> a, std::span<const float> b) {
  return std::ranges::all_of(a, [b](float id) { return std::ranges::find(b, id) != b.end(); });
}

std::span<const float> row_of(const std::vector<float>& rows, int64_t row, int64_t cols) {
  return std::span(rows).subspan(static_cast<size_t>(row * cols), static_cast<size_t>(cols));
}

}  // namespace

double SquaredError::relative() const {
  if (difference == 0) return 0;
  return reference == 0 ? std::numeric_limits<double>::infinity()
                        : std::sqrt(difference / reference);
}

double LayerDifference::share_of_same_experts() const {
  return tokens == 0 ? 1.0 : static_cast<double>(same_experts) / static_cast<double>(tokens);
}

LayerComparer::LayerComparer(const ModelConfig& config)
    : recorded_(static_cast<size_t>(config.num_hidden_layers)),
      layers_(static_cast<size_t>(config.num_hidden_layers)) {}

int64_t LayerComparer::bytes_per_token(const ModelConfig& config) {
  const auto outputs = static_cast<int64_t>(kComparedOutputs.size());
  return config.num_hidden_layers * (outputs * config.hidden_size + config.num_experts_per_tok) *
         static_cast<int64_t>(sizeof(float));
}

Observer LayerComparer::record() {
  return [this](std::string_view name, int64_t layer, Activations tensor) {
    const size_t output = output_index(name);
    if (output == kComparedOutputs.size() && name != kExperts) return;
    Recorded& recorded = recorded_[static_cast<size_t>(layer)];
    std::vector<float>& rows = name == kExperts ? recorded.experts : recorded.outputs[output];
    rows.assign(tensor.data, tensor.data + tensor.rows * tensor.cols);
  };
}

Observer LayerComparer::compare() {
  return [this](std::string_view name, int64_t layer, Activations tensor) {
    const size_t output = output_index(name);
    if (output == kComparedOutputs.size() && name != kExperts) return;
    const Recorded& recorded = recorded_[static_cast<size_t>(layer)];
    LayerDifference& difference = layers_[static_cast<size_t>(layer)];
    for (int64_t t = 0; t < tensor.rows; ++t) {
      if (name == kExperts) {
        ++difference.tokens;
        difference.same_experts +=
            same_set(row_of(recorded.experts, t, tensor.cols), tensor.row_span(t)) ? 1 : 0;
      } else {
        add_row(row_of(recorded.outputs[output], t, tensor.cols), tensor.row_span(t),
                difference.outputs[output]);
      }
    }
  };
}

}  // namespace tetrad
