#include "quant/calibrated_encoder.h"

#include <algorithm>
#include <utility>

#include "quant/error_correction.h"

namespace tetrad {
namespace {

/// Of the second moments' diagonal: enough that a text of some thousand tokens does not decide what
/// it cannot know. Measured on the demo model, where 0.01 and 0.1 are within 5 % of it.
constexpr float kDamping = 0.03f;

}  // namespace

std::string_view rounding_name(Rounding rounding) {
  switch (rounding) {
    case Rounding::plain:
      return "plain";
    case Rounding::importance:
      return "importance";
    case Rounding::group:
      return "group";
    case Rounding::matrix:
      return "matrix";
  }
  return "unknown";
}

Result<EncodedMatrix> CalibratedEncoder::encode(const PlannedModule& module,
                                                const WeightMatrix& source, ThreadPool& pool) {
  const EncodeOptions plain{.format = module.format, .search = options_.search};
  if (module.format != TargetFormat::mxfp4_16 || options_.rounding == Rounding::plain) {
    return encode_matrix(module.name, source, plain, {}, pool);
  }
  TETRAD_TRY(run_->run_to(module.layer));
  const bool is_inner = module.role == TensorRole::expert_w2 || module.name.ends_with(".o_proj");
  TETRAD_TRY(prepare({module.layer, module.expert, is_inner}, pool));
  if (!cached_->factor) {
    return encode_matrix(module.name, source, plain, cached_->importance, pool);
  }
  return encode_corrected(module.name, source, *cached_->factor, options_.search, pool);
}

ModuleInputs CalibratedEncoder::inputs_of(const InputKey& key, ThreadPool& pool) {
  if (key.expert < 0) return key.is_inner ? run_->output_inputs() : run_->attention_inputs();
  return key.is_inner ? run_->expert_hidden(key.expert, pool) : run_->expert_inputs(key.expert);
}

Result<void> CalibratedEncoder::prepare(const InputKey& key, ThreadPool& pool) {
  if (cached_ && cached_->key == key) return {};
  cached_.reset();
  const ModuleInputs inputs = inputs_of(key, pool);
  Cached made{.key = key, .importance = {}, .factor = std::nullopt};
  if (options_.rounding == Rounding::importance) {
    made.importance = mean_squares(inputs.rows(), pool);
  } else {
    const CorrectionReach reach =
        options_.rounding == Rounding::group ? CorrectionReach::group : CorrectionReach::matrix;
    TETRAD_ASSIGN(made.factor, InputFactor::create(inputs.rows(), reach, kDamping, pool));
  }
  cached_ = std::move(made);
  return {};
}

Result<KvScales> CalibratedEncoder::kv_scales(int64_t layer) {
  TETRAD_TRY(run_->run_to(layer));
  return run_->kv_scales();
}

json::object CalibratedEncoder::identity() const {
  return {{"scale_search", scale_search_name(options_.search)},
          {"calibration", run_->identity()},
          {"rounding", rounding_name(options_.rounding)}};
}

/// The run, the second moments of the widest matrix with their factor, and the rows that are
/// rounded: weights and errors, 16 rows at a time on each processor.
int64_t CalibratedEncoder::working_set_bytes() const {
  const ModelConfig& config = run_->config();
  const int64_t widest = std::max({config.hidden_size, config.q_size(), config.intermediate_size});
  constexpr auto kFloat = int64_t{sizeof(float)};
  const int64_t factor =
      options_.rounding == Rounding::group || options_.rounding == Rounding::matrix
          ? 2 * widest * widest * kFloat
          : 0;
  return run_->working_set_bytes() + factor + available_processors() * 2 * 16 * widest * kFloat;
}

}  // namespace tetrad
