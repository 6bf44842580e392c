#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "quant/calibration_run.h"
#include "quant/input_moments.h"
#include "quant/module_encoder.h"

namespace tetrad {

/// What the activations on a calibration text have to say about the rounding of weights.
enum class Rounding : uint8_t {
  plain,       // nothing
  importance,  // the squared error of a weight counts as the activations of its input channel do
  group,       // also, the 16 weights of a scale make up for each other's errors
  matrix,      // also, all weights of a row do: the second stage
};

/// "plain", "importance", "group", "matrix".
std::string_view rounding_name(Rounding rounding);

struct CalibratedEncoderOptions {
  ScaleSearch search = ScaleSearch::exact;
  Rounding rounding = Rounding::matrix;
};

/// Encodes to mxfp4_16 by what the modules are fed with on a calibration text, and measures the
/// scales of an FP8 KV cache on it. A module that becomes BF16 is rounded as ever.
class CalibratedEncoder : public ModuleEncoder {
 public:
  CalibratedEncoder(std::unique_ptr<CalibrationRun> run, const CalibratedEncoderOptions& options)
      : run_(std::move(run)), options_(options) {}

  Result<EncodedMatrix> encode(const PlannedModule& module, const WeightMatrix& source,
                               ThreadPool& pool) override;
  bool measures_kv_scales() const override { return true; }
  Result<KvScales> kv_scales(int64_t layer) override;
  json::object identity() const override;
  int64_t working_set_bytes() const override;

 private:
  /// Matrices with the same inputs: q, k and v; w1 and w3 of an expert; any other.
  struct InputKey {
    int64_t layer = 0;
    int64_t expert = 0;
    bool is_inner = false;  // o or w2
    bool operator==(const InputKey&) const = default;
  };
  /// What is made of the inputs of the last matrix, kept for the next with the same.
  struct Cached {
    InputKey key;
    std::vector<float> importance;      // with Rounding::importance
    std::optional<InputFactor> factor;  // with Rounding::group and matrix
  };

  ModuleInputs inputs_of(const InputKey& key, ThreadPool& pool);
  Result<void> prepare(const InputKey& key, ThreadPool& pool);

  std::unique_ptr<CalibrationRun> run_;
  CalibratedEncoderOptions options_;
  std::optional<Cached> cached_;
};

}  // namespace tetrad
