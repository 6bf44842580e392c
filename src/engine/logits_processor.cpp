#include "engine/logits_processor.h"

#include <algorithm>
#include <limits>

#include "kernels/vocabulary_scan.h"

namespace tetrad {
namespace {

constexpr float kRuledOut = -std::numeric_limits<float>::infinity();

}  // namespace

bool LogitsProcessor::is_asked(const SamplingParams& params, int64_t num_generated) {
  return !params.logit_bias.empty() || Penalties::asked_for(params) ||
         !params.allowed_token_ids.empty() || !params.bad_words.empty() ||
         num_generated < params.min_tokens;
}

std::span<const float> LogitsProcessor::process(std::span<const float> logits,
                                                const SamplingParams& params,
                                                std::span<const TokenId> tokens,
                                                int64_t num_prompt_tokens,
                                                const TokenSet* allowed) {
  const auto answer = tokens.subspan(static_cast<size_t>(num_prompt_tokens));
  if (allowed == nullptr && !is_asked(params, std::ssize(answer))) return logits;
  logits_.assign(logits.begin(), logits.end());
  for (const auto& [id, bias] : params.logit_bias) {
    float& logit = logits_[static_cast<size_t>(id)];
    logit = finite_float(double{logit} + bias);
  }
  if (Penalties::asked_for(params)) penalties_.apply(logits_, params, tokens, num_prompt_tokens);
  if (!params.allowed_token_ids.empty()) keep_only(params.allowed_token_ids);
  if (allowed != nullptr) keep_only(*allowed);
  rule_out_bad_words(params, answer);
  if (std::ssize(answer) < params.min_tokens) rule_out_end(params);
  return logits_;
}

void LogitsProcessor::rule_out(TokenId id) {
  // A model's configuration may name end tokens that its vocabulary does not have.
  if (id >= 0 && static_cast<size_t>(id) < logits_.size()) {
    logits_[static_cast<size_t>(id)] = kRuledOut;
  }
}

void LogitsProcessor::keep_only(std::span<const TokenId> allowed) {
  kept_.clear();
  for (const TokenId id : allowed)
    kept_.push_back(logits_[static_cast<size_t>(id)]);
  std::ranges::fill(logits_, kRuledOut);
  for (size_t i = 0; i < allowed.size(); ++i)
    logits_[static_cast<size_t>(allowed[i])] = kept_[i];
}

void LogitsProcessor::keep_only(const TokenSet& allowed) {
  const auto words = allowed.words();
  const auto covered = std::span(logits_).first(std::min(logits_.size(), words.size() * 64));
  vocabulary_scan().fill_unset(covered.data(), std::ssize(covered), words.data(), kRuledOut);
  std::ranges::fill(std::span(logits_).subspan(covered.size()), kRuledOut);
}

/// The last token of a sequence must not come when the answer ends with all before it.
void LogitsProcessor::rule_out_bad_words(const SamplingParams& params,
                                         std::span<const TokenId> answer) {
  for (const std::vector<TokenId>& word : params.bad_words) {
    const auto beginning = std::span(word).first(word.size() - 1);
    if (beginning.size() > answer.size()) continue;
    if (std::ranges::equal(answer.last(beginning.size()), beginning)) rule_out(word.back());
  }
}

void LogitsProcessor::rule_out_end(const SamplingParams& params) {
  for (const TokenId id : eos_token_ids_)
    rule_out(id);
  for (const TokenId id : params.stop_token_ids)
    rule_out(id);
}

}  // namespace tetrad
