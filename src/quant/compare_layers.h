#pragma once

// How far the layers of two models that read the same tokens lie apart.

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "checkpoint/config.h"
#include "model/minimax_m2.h"

namespace tetrad {

/// The compared tensors, by their names for an Observer: what attention and experts add to the
/// residual stream, and the stream behind the layer.
inline constexpr std::array<std::string_view, 3> kComparedOutputs = {"attn_out", "moe_out", "out"};

/// |model - reference|² and |reference|², over all tokens and elements.
struct SquaredError {
  double difference = 0;
  double reference = 0;

  /// sqrt(difference / reference): the relative RMS error. 0 where nothing differs, infinite where
  /// all of the reference is 0 and the model is not.
  double relative() const;
};

struct LayerDifference {
  std::array<SquaredError, kComparedOutputs.size()> outputs;  // in the order of kComparedOutputs
  int64_t tokens = 0;
  int64_t same_experts = 0;  // tokens that visit the same set of experts in both models

  double share_of_same_experts() const;
};

/// Takes down what the reference computes for some tokens, then compares it with what the model
/// computes for the same ones. Sums are made token by token, in double, so how the tokens are cut
/// into batches does not show in them.
class LayerComparer {
 public:
  explicit LayerComparer(const ModelConfig& config);

  /// For the forward pass of the reference, which comes first, and of the model. They refer to this
  /// object.
  Observer record();
  Observer compare();

  std::span<const LayerDifference> layers() const { return layers_; }
  /// Bytes that the comparison keeps for each token of a batch.
  static int64_t bytes_per_token(const ModelConfig& config);

 private:
  /// What the reference computed in one layer, rows of tokens.
  struct Recorded {
    std::array<std::vector<float>, kComparedOutputs.size()> outputs;
    std::vector<float> experts;
  };

  std::vector<Recorded> recorded_;
  std::vector<LayerDifference> layers_;
};

}  // namespace tetrad
