#pragma once

#include <cstdint>
#include <span>

#include "engine/request.h"

namespace tetrad {

/// What the model thought of `token` and which `num_top` tokens it held likeliest, from the logits
/// of one position: finite, one for each token of the vocabulary. Log-softmax in double, summed in
/// the order of the ids, so that the same logits always give the same bits.
TokenLogprobs token_logprobs(std::span<const float> logits, TokenId token, int64_t num_top);

}  // namespace tetrad
