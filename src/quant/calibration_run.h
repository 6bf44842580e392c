#pragma once

// A text's way through a model, one layer at a time: what every weight matrix is fed with.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/kv_scales.h"
#include "model/minimax_m2.h"
#include "quant/kv_calibration.h"

namespace tetrad {

struct CalibrationOptions {
  /// Tokens of a window; each window runs alone from position 0.
  int64_t window = 1024;
  /// An expert that the router sends fewer tokens to is shown, beside those, the tokens for which
  /// it came closest to being chosen. All tokens, where the text has no more.
  int64_t min_expert_tokens = 256;
};

/// Inputs of one matrix: [T, cols], for an expert the tokens it works on, each times the weight
/// that the router gives its output, so that a square counts as much as its output does.
class ModuleInputs {
 public:
  /// Owned elsewhere.
  explicit ModuleInputs(Activations rows) : rows_(rows) {}
  ModuleInputs(std::vector<float> values, int64_t cols)
      : values_(std::move(values)),
        rows_{values_.data(), static_cast<int64_t>(values_.size()) / cols, cols} {}
  ModuleInputs(ModuleInputs&&) = default;
  ModuleInputs& operator=(ModuleInputs&&) = default;

  Activations rows() const { return rows_; }

 private:
  std::vector<float> values_;
  Activations rows_;
};

/// Runs a text of T tokens through the layers of the source model in ascending order. Memory: the
/// residual stream and what the layer's matrices are fed with, T · (3 · hidden_size + q_size +
/// num_local_experts + 2 · num_experts_per_tok) floats, and the pages of one layer's weights, which
/// are given back when the layer has run.
class CalibrationRun {
 public:
  /// `checkpoint`: the one that `model` was loaded from, whose pages are given back.
  /// Errors: no tokens, ids outside the vocabulary, a window outside [1, max_position_embeddings].
  static Result<std::unique_ptr<CalibrationRun>> create(
      std::shared_ptr<MiniMaxM2> model, std::shared_ptr<const Checkpoint> checkpoint,
      std::vector<int32_t> ids, const CalibrationOptions& options);
  ~CalibrationRun();

  /// Makes `layer` the current one, running it and any before it that have not run. Going back is
  /// an error.
  Result<void> run_to(int64_t layer);
  const ModelConfig& config() const { return model_->config(); }
  /// The text, as a digest of its tokens, and the options.
  json::object identity() const;
  /// Bytes that the run takes at most, what inputs are handed out included; see
  /// docs/quantization.md.
  int64_t working_set_bytes() const;

  /// The last layer run; -1 before the first.
  int64_t layer() const { return layer_; }

  // Of the current layer.
  ModuleInputs attention_inputs() const;                         // of q, k and v
  ModuleInputs output_inputs() const;                            // of o
  ModuleInputs expert_inputs(int64_t expert) const;              // of w1 and w3
  ModuleInputs expert_hidden(int64_t expert, ThreadPool& pool);  // of w2
  Result<KvScales> kv_scales() const { return kv_range_.scales(layer_); }
  /// Tokens that the router sends to the expert.
  int64_t routed_tokens(int64_t expert) const;

 private:
  struct Stream;
  struct ExpertToken;

  CalibrationRun(std::shared_ptr<MiniMaxM2> model, std::shared_ptr<const Checkpoint> checkpoint,
                 std::vector<int32_t> ids, const CalibrationOptions& options);
  Result<void> run_layer(int64_t layer);
  std::vector<ExpertToken> tokens_of(int64_t expert) const;
  ModuleInputs gather(Activations from, const std::vector<ExpertToken>& tokens,
                      bool weighted) const;

  std::shared_ptr<MiniMaxM2> model_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::vector<int32_t> ids_;
  CalibrationOptions options_;
  std::unique_ptr<Stream> stream_;
  KvRange kv_range_;
  int64_t layer_ = -1;
};

}  // namespace tetrad
