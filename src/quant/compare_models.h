#pragma once

// What a quantized model lost: it and its reference read the same texts, and every prediction and
// every layer is compared.

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "model/kv_cache_format.h"
#include "model/minimax_m2.h"
#include "quant/compare_layers.h"
#include "quant/compare_statistics.h"

namespace tetrad {

/// A model and the cache it computes with. The two of a comparison are two objects: each keeps the
/// logits of its last batch.
struct ComparedModel {
  MiniMaxM2& model;
  const KvCacheFormat& kv_cache;
};

struct CompareOptions {
  int64_t window = 1024;
  /// Tokens computed at once; 0: as many as keep logits and recorded tensors within 512 MiB. It
  /// does not show in the result.
  int64_t tokens_at_once = 0;
  size_t num_worst = 20;
};

/// A prediction on which the models disagree.
struct WorstPosition {
  size_t text = 0;       // which of the texts
  int64_t index = 0;     // of the predicted token in the text's ids
  int64_t position = 0;  // in the window, of the token from which it is predicted
  DistributionDifference difference;
};

struct ModelComparison {
  std::vector<TextStatistics> texts;  // in their order
  TextStatistics all;
  std::vector<LayerDifference> layers;
  std::vector<MeanOf> kl_by_position;  // by position in the window
  std::vector<WorstPosition> worst;    // of the largest KL first
};

/// Cuts each text into consecutive windows and runs each alone from position 0 through both models.
/// Every position of a window counts but its last, whose next token the window does not have: the
/// predictions of evaluate_perplexity, with the same NLL. Layers are compared on the same
/// positions. Errors: no text, a text of fewer than 2 tokens, a window outside [2,
/// max_position_embeddings], models of different vocabulary or layers, logits that are not finite.
Result<ModelComparison> compare_models(ComparedModel model, ComparedModel reference,
                                       std::span<const std::vector<int32_t>> texts,
                                       const CompareOptions& options);

}  // namespace tetrad
