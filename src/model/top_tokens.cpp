#include "model/top_tokens.h"

#include <algorithm>
#include <cmath>

namespace tetrad {

bool is_likelier(const LikelyToken& a, const LikelyToken& b) {
  const bool a_is_none = std::isnan(a.logit);
  const bool b_is_none = std::isnan(b.logit);
  if (a_is_none != b_is_none) return a_is_none;
  if (!a_is_none && a.logit != b.logit) return a.logit > b.logit;
  return a.id < b.id;
}

/// A heap of the best so far, the least likely of them on top; ids ascend, so that of equals the
/// one that stands there already stays.
void find_top_tokens(std::span<const float> logits, int64_t first_id, std::span<LikelyToken> top) {
  const size_t count = std::min(top.size(), logits.size());
  if (count == 0) return;
  const auto token_at = [&](size_t i) {
    return LikelyToken{.logit = logits[i],
                       .id = static_cast<uint32_t>(first_id + static_cast<int64_t>(i))};
  };
  const std::span<LikelyToken> best = top.first(count);
  for (size_t i = 0; i < count; ++i)
    best[i] = token_at(i);
  std::ranges::make_heap(best, is_likelier);
  for (size_t i = count; i < logits.size(); ++i) {
    if (logits[i] <= best[0].logit) continue;  // the usual case; false of what is no number
    const LikelyToken token = token_at(i);
    if (!is_likelier(token, best[0])) continue;
    std::ranges::pop_heap(best, is_likelier);
    best.back() = token;
    std::ranges::push_heap(best, is_likelier);
  }
  std::ranges::sort_heap(best, is_likelier);
}

}  // namespace tetrad
