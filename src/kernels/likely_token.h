#pragma once

#include <cstdint>

namespace tetrad {

/// One of the tokens with the largest logits.
struct LikelyToken {
  float logit = 0;
  uint32_t id = 0;
};

/// Of a large vocabulary so many are told, and more, where no more than a few hundred have logits
/// as large.
inline constexpr uint32_t kFewestLikelyTokens = 72;

}  // namespace tetrad
