#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/splitmix.h"
#include "engine/logprobs.h"

namespace tetrad {
namespace {

constexpr float kLowestLogit = std::numeric_limits<float>::lowest();

/// min_p says p >= min_p * p_best, which in logits holds whatever the normalisation: the lowest
/// that passes. Without min_p, the lowest that is not ruled out.
float lowest_logit(float best_logit, const SamplingParams& params) {
  if (params.min_p <= 0.0f) return kLowestLogit;
  const double bound = best_logit + std::log(double{params.min_p}) * params.temperature;
  const auto rounded = static_cast<float>(std::max(bound, double{kLowestLogit}));
  return rounded < bound ? std::nextafter(rounded, best_logit) : rounded;
}

/// How far sums of `num_tokens` weights, and differences from them, are from each other at most,
/// as a part of the sum, whether the weights are added by and by in double or are block_exp_sums:
/// 2^-53 for each addition of either, and what the weights differ by, of which most comes of
/// rounding an exponent of up to 700.
double sum_tolerance(size_t num_tokens) {
  return 4 * 0x1p-53 * static_cast<double>(num_tokens) + 0x1p-40;
}

tl::unexpected<Error> logits_are_no_numbers() {
  return fail(ErrorCode::corrupt_data,
              "the model computed logits that are not numbers; the checkpoint is damaged or wrong");
}

bool has_top_k(const SamplingParams& params, int64_t vocab_size) {
  return params.top_k > 0 && params.top_k < vocab_size;
}

}  // namespace

double uniform_at(uint64_t seed, uint64_t index) {
  return unit_interval(splitmix(splitmix(seed) + (index + 1) * kSplitMixStep));
}

Result<SampledToken> Sampler::sample(std::span<const float> logits, const SamplingParams& params,
                                     std::span<const TokenId> tokens, int64_t num_prompt_tokens,
                                     const TokenSet* allowed) {
  if (!scan_.read(logits)) return logits_are_no_numbers();
  const auto processed = processor_.process(logits, params, tokens, num_prompt_tokens, allowed);
  if (processed.data() != logits.data()) scan_.read(processed);
  if (std::isinf(scan_.largest())) {
    return fail(ErrorCode::invalid_argument,
                "no token is left to choose: allowed_token_ids, bad_words, min_tokens, "
                "stop_token_ids and the answer's grammar rule all of them out");
  }
  largest_ = scan_.largest();
  SampledToken chosen;
  chosen.id = params.temperature == 0.0f
                  ? scan_.best()
                  : choose(params, choice_of(params, tokens, num_prompt_tokens));
  if (params.logprobs) chosen.logprobs = token_logprobs(logits, chosen.id, *params.logprobs);
  return chosen;
}

Sampler::Choice Sampler::choice_of(const SamplingParams& params, std::span<const TokenId> tokens,
                                   int64_t num_prompt_tokens) {
  const uint64_t index = tokens.size() - static_cast<size_t>(num_prompt_tokens);
  return {.temperature = params.temperature,
          .top_p = params.top_p,
          .uniform = uniform_at(params.seed.value_or(0), index)};
}

LogitsUse Sampler::use_of(const SamplingParams& params, bool is_constrained,
                          int64_t num_generated) {
  if (params.logprobs || LogitsProcessor::is_asked(params, num_generated)) return {};
  // The best token that a constraint allows is one of the likeliest.
  if (params.temperature == 0) return {.is_whole = false, .temperature = is_constrained ? 1.f : 0};
  const bool is_among_few = params.top_k > 0 && params.top_k < kFewestLikelyTokens;
  // What all weigh is known of all tokens, not of those that a constraint allows.
  if (!is_among_few && params.min_p <= 0 && is_constrained) return {};
  return {.is_whole = !is_among_few && params.top_k > 0 && params.min_p <= 0,
          .temperature = params.temperature};
}

Result<std::optional<SampledToken>> Sampler::sample(const RowSummary& row,
                                                    const SamplingParams& params,
                                                    std::span<const TokenId> tokens,
                                                    int64_t num_prompt_tokens,
                                                    const TokenSet* allowed) {
  if (!row.is_finite) return logits_are_no_numbers();
  const int64_t num_generated = std::ssize(tokens) - num_prompt_tokens;
  if (use_of(params, allowed != nullptr, num_generated).is_whole) return std::nullopt;
  if (params.temperature == 0 && allowed == nullptr) return SampledToken{.id = row.best};
  candidates_.clear();
  for (const LikelyToken& token : row.likely) {
    const auto id = static_cast<TokenId>(token.id);
    if (allowed == nullptr || allowed->contains(id)) candidates_.emplace_back(token.logit, id);
  }
  if (candidates_.empty()) return std::nullopt;
  const TokenKey best = *std::ranges::min_element(candidates_);
  if (params.temperature == 0) return SampledToken{.id = best.id()};
  largest_ = best.logit();
  const auto chosen = choose_of_likely(row, params, choice_of(params, tokens, num_prompt_tokens),
                                       allowed != nullptr);
  if (!chosen) return std::nullopt;
  return SampledToken{.id = *chosen};
}

/// As choose(), of candidates that are the likeliest of those allowed.
std::optional<TokenId> Sampler::choose_of_likely(const RowSummary& row,
                                                 const SamplingParams& params, const Choice& choice,
                                                 bool is_restricted) {
  const bool has_most = has_top_k(params, row.vocab_size);
  if (!has_most && params.min_p <= 0.0f) {
    // What all weigh is known of all.
    if (is_restricted) return std::nullopt;
    const double tolerance =
        row.weights_error + sum_tolerance(static_cast<size_t>(row.vocab_size)) * row.weights;
    return draw_of_likeliest(choice, row.weights, tolerance);
  }
  const float lowest = lowest_logit(largest_, params);
  std::erase_if(candidates_, [&](const TokenKey& key) { return key.logit() < lowest; });
  const bool has_more = has_most && std::ssize(candidates_) > params.top_k;
  if (!has_more && lowest < row.bound) return std::nullopt;
  if (has_most) keep_first(candidates_, params.top_k);
  return choose_of_candidates(choice);
}

/// Whatever the way, the result is that of choose_of_candidates() with all tokens that top_k and
/// min_p leave, to the bit: the other ways only look at fewer of them.
TokenId Sampler::choose(const SamplingParams& params, const Choice& choice) {
  const bool has_most = has_top_k(params, std::ssize(scan_.logits()));
  if (!has_most && params.min_p <= 0.0f) return choose_of_all(choice);
  float lowest = lowest_logit(scan_.largest(), params);
  // One more than asked for, so that it shows whether there are more than these.
  if (has_most) lowest = std::max(lowest, scan_.bound_of(params.top_k + 1));
  candidates_.clear();
  scan_.collect(lowest, candidates_);
  if (has_most) keep_first(candidates_, params.top_k);
  return choose_of_candidates(choice);
}

/// The candidates are the likeliest tokens, more of them if those before did not do.
TokenId Sampler::choose_of_all(const Choice& choice) {
  const double total = approximate_weights(choice.temperature);
  const auto num_tokens = static_cast<double>(scan_.logits().size());
  const double tolerance = sum_tolerance(scan_.logits().size()) * total;
  // If all were as likely as the first of those that are less likely than this, they would have
  // half of what top_p, or the random number, leaves out.
  const double left_out = 1 - std::min(choice.top_p, choice.uniform);
  const double unlikely = left_out * total / (2 * num_tokens);
  const double lowest = scan_.largest() + std::log(unlikely) * choice.temperature;
  for (const float bound : {scan_.bound_of(256), static_cast<float>(lowest)}) {
    candidates_.clear();
    scan_.collect(std::max(bound, kLowestLogit), candidates_);
    if (const auto chosen = draw_of_likeliest(choice, total, tolerance)) return *chosen;
  }
  candidates_.clear();
  scan_.collect(kLowestLogit, candidates_);
  return choose_of_candidates(choice);
}

TokenId Sampler::choose_of_candidates(const Choice& choice) {
  sort_keys(candidates_);
  weights_.clear();
  double total = 0;
  for (const TokenKey& candidate : candidates_)
    total += weights_.emplace_back(weight(candidate.logit(), choice.temperature));
  // With no tolerance there is always something.
  if (choice.top_p < 1) total = keep_likeliest(choice, choice.top_p * total, 0).value_or(total);
  return draw(total, choice.uniform);
}

double Sampler::weight(float logit, double temperature) const {
  return std::exp((double{logit} - largest_) / temperature);
}

/// Fills block_sums_ and returns the sum of all.
double Sampler::approximate_weights(double temperature) {
  const auto logits = scan_.logits();
  block_sums_.resize((logits.size() + kVocabularyBlock - 1) / kVocabularyBlock);
  vocabulary_scan().block_exp_sums(logits.data(), std::ssize(logits), scan_.largest(),
                                   1 / temperature, block_sums_.data());
  double total = 0;
  for (const double sum : block_sums_)
    total += sum;
  return total;
}

/// Of candidates that are the likeliest of all tokens, which weigh `total` within `tolerance`;
/// nothing if it may be none of them, or depends on less than that.
std::optional<TokenId> Sampler::draw_of_likeliest(const Choice& choice, double total,
                                                  double tolerance) {
  sort_keys(candidates_);
  const double share = choice.top_p < 1 ? choice.top_p : choice.uniform;
  const auto kept = keep_likeliest(choice, share * total, tolerance);
  if (!kept) return std::nullopt;
  // Of all, the random number falls on the last of those that have as much.
  return choice.top_p < 1 ? draw(*kept, choice.uniform) : candidates_[weights_.size() - 1].id();
}

/// Keeps the first candidates that together have the weight `least` or more, and returns what
/// they have; nothing if that depends on less than `tolerance`, or if all do not have it for sure.
std::optional<double> Sampler::keep_likeliest(const Choice& choice, double least,
                                              double tolerance) {
  weights_.clear();
  double kept = 0;
  for (const TokenKey& candidate : candidates_) {
    kept += weights_.emplace_back(weight(candidate.logit(), choice.temperature));
    if (kept < least - tolerance) continue;
    return kept < least + tolerance ? std::nullopt : std::optional(kept);
  }
  return tolerance > 0 ? std::nullopt : std::optional(kept);
}

TokenId Sampler::draw(double total, double uniform) const {
  double left = uniform * total;
  size_t chosen = 0;
  while (chosen + 1 < weights_.size() && left >= weights_[chosen])
    left -= weights_[chosen++];
  return candidates_[chosen].id();
}

}  // namespace tetrad
