#include "engine/request_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string_view>

namespace tetrad {
namespace {

constexpr int64_t kMaxLogprobs = 20;

// The comparisons are written so that NaN fails every one of them.

Result<void> check_filters(const SamplingParams& sampling) {
  if (!(sampling.temperature >= 0.0f && sampling.temperature <= 100.0f)) {
    return fail_param("temperature", "temperature must be between 0 and 100");
  }
  if (!(sampling.top_p > 0.0f && sampling.top_p <= 1.0f)) {
    return fail_param("top_p", "top_p must be above 0 and at most 1");
  }
  if (!(sampling.min_p >= 0.0f && sampling.min_p <= 1.0f)) {
    return fail_param("min_p", "min_p must be between 0 and 1");
  }
  if (sampling.top_k < 0) return fail_param("top_k", "top_k must be at least 1, or 0 for off");
  return {};
}

Result<void> check_penalties(const SamplingParams& sampling) {
  const float repetition = sampling.repetition_penalty;
  if (!(repetition > 0.0f && repetition <= std::numeric_limits<float>::max())) {
    return fail_param("repetition_penalty", "repetition_penalty must be above 0");
  }
  if (!(std::abs(sampling.frequency_penalty) <= 2.0f)) {
    return fail_param("frequency_penalty", "frequency_penalty must be between -2 and 2");
  }
  if (!(std::abs(sampling.presence_penalty) <= 2.0f)) {
    return fail_param("presence_penalty", "presence_penalty must be between -2 and 2");
  }
  return {};
}

Result<void> check_ids(std::string_view field, std::span<const TokenId> ids, int64_t vocab_size) {
  for (const TokenId id : ids) {
    if (id < 0 || id >= vocab_size) {
      return fail_param(field, "{}: {} is outside the vocabulary of {}", field, id, vocab_size);
    }
  }
  return {};
}

Result<void> check_tokens(const SamplingParams& sampling, int64_t vocab_size) {
  TETRAD_TRY(check_ids("stop_token_ids", sampling.stop_token_ids, vocab_size));
  TETRAD_TRY(check_ids("allowed_token_ids", sampling.allowed_token_ids, vocab_size));
  for (const std::vector<TokenId>& word : sampling.bad_words) {
    if (word.empty()) return fail_param("bad_words", "bad_words: a word has no tokens");
    TETRAD_TRY(check_ids("bad_words", word, vocab_size));
  }
  for (const auto& [id, bias] : sampling.logit_bias) {
    TETRAD_TRY(check_ids("logit_bias", std::span(&id, 1), vocab_size));
    if (!(std::abs(bias) <= 100.0f)) {
      return fail_param("logit_bias", "logit_bias of token {} must be between -100 and 100", id);
    }
  }
  if (std::ranges::any_of(sampling.stop, &std::string::empty)) {
    return fail_param("stop", "a stop string must not be empty");
  }
  return {};
}

Result<void> check_logprobs(std::string_view field, const std::optional<int64_t>& count) {
  if (count && (*count < 0 || *count > kMaxLogprobs)) {
    return fail_param(field, "{} must be between 0 and {}", field, kMaxLogprobs);
  }
  return {};
}

/// `room`: tokens that fit behind the prompt.
Result<void> check_lengths(const SamplingParams& sampling, int64_t num_prompt_tokens,
                           int64_t room) {
  if (sampling.max_tokens < 0) return fail_param("max_tokens", "max_tokens must be at least 1");
  if (sampling.max_tokens > room) {
    return fail_param("max_tokens",
                      "the prompt has {} tokens and max_tokens is {}: together they exceed this "
                      "server's maximum context length of {} tokens",
                      num_prompt_tokens, sampling.max_tokens, num_prompt_tokens + room);
  }
  const int64_t longest = sampling.max_tokens == 0 ? room : sampling.max_tokens;
  if (sampling.min_tokens < 0 || sampling.min_tokens > longest) {
    return fail_param("min_tokens",
                      "min_tokens must be between 0 and the {} tokens that the answer may have, "
                      "not {}",
                      longest, sampling.min_tokens);
  }
  return {};
}

Result<void> check_sampling(const SamplingParams& sampling, int64_t vocab_size) {
  TETRAD_TRY(check_filters(sampling));
  TETRAD_TRY(check_penalties(sampling));
  TETRAD_TRY(check_tokens(sampling, vocab_size));
  TETRAD_TRY(check_logprobs("logprobs", sampling.logprobs));
  return check_logprobs("prompt_logprobs", sampling.prompt_logprobs);
}

}  // namespace

Result<void> check_request(const GenerationRequest& request, int64_t vocab_size,
                           int64_t max_model_len) {
  const auto num_prompt_tokens = static_cast<int64_t>(request.prompt_ids.size());
  if (num_prompt_tokens == 0) return fail_param("prompt", "the prompt has no tokens");
  for (size_t i = 0; i < request.prompt_ids.size(); ++i) {
    if (request.prompt_ids[i] < 0 || request.prompt_ids[i] >= vocab_size) {
      return fail_param("prompt", "token {} of the prompt is {}, outside the vocabulary of {}", i,
                        request.prompt_ids[i], vocab_size);
    }
  }
  TETRAD_TRY(check_sampling(request.sampling, vocab_size));
  if (num_prompt_tokens >= max_model_len) {
    return fail_param("prompt",
                      "the prompt has {} tokens and leaves no room for an answer: this server's "
                      "maximum context length is {} tokens",
                      num_prompt_tokens, max_model_len);
  }
  return check_lengths(request.sampling, num_prompt_tokens, max_model_len - num_prompt_tokens);
}

}  // namespace tetrad
