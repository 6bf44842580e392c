#include "engine/request_check.h"

#include <algorithm>
#include <cmath>

namespace tetrad {
namespace {

Result<void> check_sampling(const SamplingParams& sampling, int64_t vocab_size) {
  // Written so that NaN fails every one of them.
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
  if (sampling.max_tokens < 0) return fail_param("max_tokens", "max_tokens must be at least 1");
  if (std::ranges::any_of(sampling.stop, &std::string::empty)) {
    return fail_param("stop", "a stop string must not be empty");
  }
  for (const TokenId id : sampling.stop_token_ids) {
    if (id < 0 || id >= vocab_size) {
      return fail_param("stop_token_ids", "{} is outside the vocabulary of {}", id, vocab_size);
    }
  }
  return {};
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
  if (request.sampling.max_tokens > max_model_len - num_prompt_tokens) {
    return fail_param("max_tokens",
                      "the prompt has {} tokens and max_tokens is {}: together they exceed this "
                      "server's maximum context length of {} tokens",
                      num_prompt_tokens, request.sampling.max_tokens, max_model_len);
  }
  return {};
}

}  // namespace tetrad
