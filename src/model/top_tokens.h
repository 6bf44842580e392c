#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/likely_token.h"

namespace tetrad {

/// The larger logit first, the lower id first among equals; what is no number before all others, so
/// that it is seen.
bool is_likelier(const LikelyToken& a, const LikelyToken& b);

/// The likeliest of `logits`, as many as `top` holds, in that order. Ids count from `first_id`. Of
/// fewer logits than that the rest stay as they are.
void find_top_tokens(std::span<const float> logits, int64_t first_id, std::span<LikelyToken> top);

}  // namespace tetrad
