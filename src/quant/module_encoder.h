#pragma once

// What the quantizer asks for the bytes of one module: the seam between the file work and the
// choice of the numbers.

#include <cstdint>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "checkpoint/kv_scales.h"
#include "quant/encode_matrix.h"
#include "quant/quantize_plan.h"

namespace tetrad {

/// Is asked for the modules in the order of the forward pass, each once. A run that goes on where
/// another was stopped asks first for a module in the middle of the model.
class ModuleEncoder {
 public:
  virtual ~ModuleEncoder() = default;

  /// The tensors of encoded_layout(module.format, …) for a module with a `source`. module.format is
  /// the run's format or, for what is to be dense, bf16. Must not depend on the number of threads.
  virtual Result<EncodedMatrix> encode(const PlannedModule& module, const WeightMatrix& source,
                                       ThreadPool& pool) = 0;

  /// Whether kv_scales() will be asked, once for each layer, between its attention projections and
  /// its experts; the scales of the source are dropped then.
  virtual bool measures_kv_scales() const { return false; }
  virtual Result<KvScales> kv_scales(int64_t layer) = 0;

  /// Whatever changes the bytes, calibration data included (as a digest): a stopped run goes on
  /// only where this is the same as at its start.
  virtual json::object identity() const = 0;

  /// What the encoder takes in memory at most, beyond what working_set_bytes() of the plan counts.
  virtual int64_t working_set_bytes() const { return 0; }
};

/// encode_matrix() without importance, and KV scales that are known already, if any.
class PlainEncoder : public ModuleEncoder {
 public:
  /// `kv_scales`: one for each layer, or none.
  explicit PlainEncoder(ScaleSearch search, std::vector<KvScales> kv_scales = {})
      : search_(search), kv_scales_(std::move(kv_scales)) {}

  Result<EncodedMatrix> encode(const PlannedModule& module, const WeightMatrix& source,
                               ThreadPool& pool) override;
  bool measures_kv_scales() const override { return !kv_scales_.empty(); }
  Result<KvScales> kv_scales(int64_t layer) override;
  json::object identity() const override;

 private:
  ScaleSearch search_;
  std::vector<KvScales> kv_scales_;
};

}  // namespace tetrad
