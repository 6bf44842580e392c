#include "engine/logprobs.h"

#include <algorithm>
#include <cmath>

#include "engine/logit_scan.h"

namespace tetrad {
namespace {

/// The sum of exp(logit - shift), added one by one, with the very bits that std::exp would give it:
/// where an approximation from below and one from above have the same sum, so has std::exp.
/// `shift` is the largest logit.
double sum_of_exps(std::span<const float> logits, double shift) {
  // std::exp and VocabularyScan::exps are less than 2^-52 and 2^-51 of the result off; what the
  // latter does not know better than to be close to 0 begins below 0 here.
  constexpr double kBelow = 1 - 0x1p-49;
  constexpr double kAbove = 1 + 0x1p-49;
  constexpr double kAlmostZero = 1e-300;
  constexpr size_t kChunk = 512;
  double exps[kChunk];
  double sum = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kChunk) {
    const auto chunk = logits.subspan(begin, std::min(kChunk, logits.size() - begin));
    vocabulary_scan().exps(chunk.data(), std::ssize(chunk), shift, 1.0, exps);
    for (size_t i = 0; i < chunk.size(); ++i) {
      const double least = sum + (exps[i] * kBelow - kAlmostZero);
      const double most = sum + exps[i] * kAbove;
      sum = least == most ? least : sum + std::exp(chunk[i] - shift);
    }
  }
  return sum;
}

}  // namespace

TokenLogprobs token_logprobs(std::span<const float> logits, TokenId token, int64_t num_top) {
  LogitScan scan;
  scan.read(logits);
  const double shift = scan.largest();  // keeps exp() in range
  const double log_total = std::log(sum_of_exps(logits, shift));
  const auto logprob = [=](float logit) { return static_cast<float>(logit - shift - log_total); };

  const float logit = logits[static_cast<size_t>(token)];
  TokenLogprobs result;
  result.token = {.id = token, .logprob = logprob(logit)};
  result.rank = 1 + vocabulary_scan().count_above(logits.data(), std::ssize(logits), logit);
  if (num_top <= 0) return result;
  std::vector<TokenKey> top;
  scan.collect(scan.bound_of(num_top), top);
  std::ranges::sort(top);
  for (const TokenKey& key :
       std::span(top).first(std::min(top.size(), static_cast<size_t>(num_top))))
    result.top.push_back({.id = key.id(), .logprob = logprob(key.logit())});
  return result;
}

}  // namespace tetrad
