#pragma once

#include <cstdint>
#include <span>

#include "base/error.h"
#include "model/device_model.h"

namespace tetrad {

struct Perplexity {
  double mean_nll = 0;     // nats a token
  int64_t num_tokens = 0;  // tokens predicted
  double perplexity() const;
};

/// Whether `ids` are a text that a model of `vocab_size` tokens can be evaluated on. Errors: fewer
/// than 2 tokens, an id outside the vocabulary.
Result<void> check_evaluated_ids(std::span<const int32_t> ids, int64_t vocab_size);

/// Cuts `ids` into consecutive windows, runs each alone from position 0, and averages -log p over
/// every token but the first of each window; a last window of one token predicts nothing.
/// Errors: those of check_evaluated_ids, a window outside [2, max_position_embeddings].
Result<Perplexity> evaluate_perplexity(DeviceModel& model, std::span<const int32_t> ids,
                                       int64_t window);

}  // namespace tetrad
