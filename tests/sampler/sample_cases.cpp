// Runs the sampler on cases from standard input, for tests/oracle/sampler_numpy.py to judge. A line
// holds {"logits", "tokens", "num_prompt_tokens", "eos_token_ids", "bad_words" (token ids),
// "params" (as in a request), "num_draws"}; the answer has the processed logits (null: ruled out),
// the greedy token, the log probabilities at it, and how often each token was drawn.

#include <fmt/core.h>

#include <cmath>
#include <iostream>
#include <map>
#include <string>

#include "api/sampling_request.h"
#include "base/json.h"
#include "engine/sampler.h"

namespace tetrad {
namespace {

struct Case {
  std::vector<float> logits;
  std::vector<TokenId> tokens;
  int64_t num_prompt_tokens;
  std::vector<TokenId> eos_token_ids;
  SamplingParams params;
};

Result<Case> read_case(const json::object& line) {
  Case result;
  for (const double logit : json::value_to<std::vector<double>>(line.at("logits")))
    result.logits.push_back(static_cast<float>(logit));
  result.tokens = json::value_to<std::vector<TokenId>>(line.at("tokens"));
  result.num_prompt_tokens = line.at("num_prompt_tokens").to_number<int64_t>();
  result.eos_token_ids = json::value_to<std::vector<TokenId>>(line.at("eos_token_ids"));
  api::FieldReader fields(line.at("params").as_object());
  TETRAD_ASSIGN(const auto request, api::read_sampling(fields, api::Dialect::completion));
  result.params = api::resolve(request, {});
  result.params.bad_words = json::value_to<std::vector<std::vector<TokenId>>>(line.at("bad_words"));
  return result;
}

json::array processed_logits(const Case& one) {
  LogitsProcessor processor(one.eos_token_ids);
  json::array array;
  for (const float logit :
       processor.process(one.logits, one.params, one.tokens, one.num_prompt_tokens)) {
    array.emplace_back(nullptr);
    if (std::isfinite(logit)) array.back() = logit;
  }
  return array;
}

json::object logprobs_object(const TokenLogprobs& logprobs) {
  json::array top;
  for (const auto& [id, logprob] : logprobs.top)
    top.push_back(json::array{id, logprob});
  return {{"logprob", logprobs.token.logprob}, {"rank", logprobs.rank}, {"top", std::move(top)}};
}

Result<json::object> answer(const json::object& line) {
  TETRAD_ASSIGN(Case one, read_case(line));
  Sampler sampler(one.eos_token_ids);
  json::object result{{"processed", processed_logits(one)}};
  std::map<TokenId, int64_t> counts;
  const auto num_draws = line.at("num_draws").to_number<uint64_t>();
  const std::optional<int64_t> num_logprobs = std::exchange(one.params.logprobs, std::nullopt);
  for (uint64_t seed = 0; seed < num_draws; ++seed) {
    one.params.seed = seed;
    TETRAD_ASSIGN(const SampledToken drawn,
                  sampler.sample(one.logits, one.params, one.tokens, one.num_prompt_tokens));
    ++counts[drawn.id];
  }
  one.params.temperature = 0;
  one.params.logprobs = num_logprobs;
  TETRAD_ASSIGN(const SampledToken greedy,
                sampler.sample(one.logits, one.params, one.tokens, one.num_prompt_tokens));
  result["greedy"] = greedy.id;
  if (greedy.logprobs) result["logprobs"] = logprobs_object(*greedy.logprobs);
  json::object count_object;
  for (const auto& [id, count] : counts)
    count_object[std::to_string(id)] = count;
  result["counts"] = std::move(count_object);
  return result;
}

}  // namespace
}  // namespace tetrad

int main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    const auto parsed = tetrad::parse_json(line);
    if (!parsed) {
      fmt::print(stderr, "sample_cases: {}\n", parsed.error().message);
      return 1;
    }
    const auto result = tetrad::answer(parsed->get_object());
    const tetrad::json::object output =
        result ? *result : tetrad::json::object{{"error", result.error().message}};
    fmt::print("{}\n", tetrad::to_json_text(output));
  }
  return 0;
}
