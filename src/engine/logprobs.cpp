#include "engine/logprobs.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace tetrad {
namespace {

/// The ids of the `count` largest logits, the largest first, lower ids first of equals; with the
/// logit where the log probability will be.
std::vector<TokenLogprob> largest(std::span<const float> logits, size_t count) {
  std::vector<TokenLogprob> top;
  if (count == 0) return top;
  top.reserve(count + 1);
  for (size_t i = 0; i < logits.size(); ++i) {
    if (top.size() == count && logits[i] <= top.back().logprob) continue;
    const auto place =
        std::ranges::upper_bound(top, logits[i], std::greater<>(), &TokenLogprob::logprob);
    top.insert(place, {.id = static_cast<TokenId>(i), .logprob = logits[i]});
    if (top.size() > count) top.pop_back();
  }
  return top;
}

}  // namespace

TokenLogprobs token_logprobs(std::span<const float> logits, TokenId token, int64_t num_top) {
  const double shift = *std::ranges::max_element(logits);  // keeps exp() in range
  double total = 0;
  for (const float logit : logits)
    total += std::exp(logit - shift);
  const double log_total = std::log(total);
  const auto logprob = [=](float logit) { return static_cast<float>(logit - shift - log_total); };

  const float logit = logits[static_cast<size_t>(token)];
  TokenLogprobs result;
  result.token = {.id = token, .logprob = logprob(logit)};
  result.rank = 1 + std::ranges::count_if(logits, [=](float other) { return other > logit; });
  result.top = largest(logits, static_cast<size_t>(std::max<int64_t>(num_top, 0)));
  for (TokenLogprob& one : result.top)
    one.logprob = logprob(one.logprob);
  return result;
}

}  // namespace tetrad
