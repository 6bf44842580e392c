#include "api/sampling_request.h"

#include <limits>

#include "api/token_fields.h"

namespace tetrad::api {
namespace {

constexpr int64_t kMaxInt = std::numeric_limits<int64_t>::max();
constexpr int64_t kMinInt = std::numeric_limits<int64_t>::min();
constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 1024;
constexpr size_t kMaxStopTokenIds = 128;
constexpr int64_t kMaxLogprobs = 20;

constexpr NumberRange kTemperature{.min = 0, .max = 2};
constexpr NumberRange kTopP{.min = 0, .max = 1, .above_min = true};
constexpr NumberRange kMinP{.min = 0, .max = 1};
constexpr NumberRange kRepetitionPenalty{.min = 0, .max = 100, .above_min = true};
constexpr NumberRange kPenalty{.min = -2, .max = 2};

Result<std::string> stop_string(const json::value& value, std::string_view name) {
  if (!value.is_string()) return wrong_kind(name, "a string or an array of strings", value);
  const json::string& text = value.get_string();
  if (text.empty() || text.size() > kMaxStopBytes) {
    return fail_param(name, "a \"{}\" string must be 1 to {} bytes long, this one has {}", name,
                      kMaxStopBytes, text.size());
  }
  return std::string(text);
}

template <class T>
void lay_over(std::optional<T>& target, const std::optional<T>& value) {
  if (value) target = value;
}

Result<bool> read_flag(FieldReader& fields, std::string_view name, bool otherwise) {
  TETRAD_ASSIGN(const std::optional<bool> flag, fields.boolean(name));
  return flag.value_or(otherwise);
}

/// Chats say whether and how many, completions only how many.
Result<std::optional<int64_t>> read_logprobs(FieldReader& fields, Dialect dialect) {
  if (dialect == Dialect::completion) return fields.integer("logprobs", 0, kMaxLogprobs);
  TETRAD_ASSIGN(const std::optional<bool> logprobs, fields.boolean("logprobs"));
  TETRAD_ASSIGN(const std::optional<int64_t> top_logprobs,
                fields.integer("top_logprobs", 0, kMaxLogprobs));
  if (logprobs.value_or(false)) return top_logprobs.value_or(0);
  if (top_logprobs.value_or(0) > 0) {
    return fail_param("top_logprobs", "\"top_logprobs\" is only allowed with \"logprobs\": true");
  }
  return std::nullopt;
}

Result<void> read_penalties(FieldReader& fields, SamplingRequest& request) {
  TETRAD_ASSIGN(request.repetition_penalty,
                fields.number("repetition_penalty", kRepetitionPenalty));
  TETRAD_ASSIGN(request.frequency_penalty, fields.number("frequency_penalty", kPenalty));
  TETRAD_ASSIGN(request.presence_penalty, fields.number("presence_penalty", kPenalty));
  return {};
}

/// Where an answer ends, and where it must not.
Result<void> read_end(FieldReader& fields, Dialect dialect, SamplingRequest& request) {
  // A completion of no tokens can still echo its prompt.
  const int64_t fewest = dialect == Dialect::completion ? 0 : 1;
  // max_tokens is the older name of max_completion_tokens; the newer one wins.
  TETRAD_ASSIGN(request.max_tokens, fields.integer("max_tokens", fewest, kMaxInt));
  TETRAD_ASSIGN(const std::optional<int64_t> max_completion_tokens,
                fields.integer("max_completion_tokens", fewest, kMaxInt));
  lay_over(request.max_tokens, max_completion_tokens);
  TETRAD_ASSIGN(request.min_tokens, fields.integer("min_tokens", 0, kMaxInt));
  TETRAD_ASSIGN(request.stop, read_stop(fields, "stop"));
  TETRAD_ASSIGN(request.include_stop_str_in_output,
                read_flag(fields, "include_stop_str_in_output", false));
  TETRAD_ASSIGN(request.stop_token_ids, read_token_ids(fields, "stop_token_ids", kMaxStopTokenIds));
  TETRAD_ASSIGN(request.ignore_eos, read_flag(fields, "ignore_eos", false));
  return {};
}

}  // namespace

Result<std::vector<std::string>> read_stop(FieldReader& fields, std::string_view name) {
  std::vector<std::string> stop;
  const json::value* value = fields.find(name);
  if (value == nullptr) return stop;
  if (!value->is_array()) {
    TETRAD_ASSIGN(std::string text, stop_string(*value, name));
    stop.push_back(std::move(text));
    return stop;
  }
  if (value->get_array().size() > kMaxStops) {
    return fail_param(name, "\"{}\" may hold at most {} strings, not {}", name, kMaxStops,
                      value->get_array().size());
  }
  for (const json::value& item : value->get_array()) {
    TETRAD_ASSIGN(std::string text, stop_string(item, name));
    stop.push_back(std::move(text));
  }
  return stop;
}

Result<SamplingRequest> read_sampling(FieldReader& fields, Dialect dialect) {
  SamplingRequest request;
  TETRAD_ASSIGN(request.temperature, fields.number("temperature", kTemperature));
  TETRAD_ASSIGN(request.top_p, fields.number("top_p", kTopP));
  TETRAD_ASSIGN(request.min_p, fields.number("min_p", kMinP));
  TETRAD_ASSIGN(request.top_k, fields.integer("top_k", -1, kMaxInt));
  TETRAD_ASSIGN(request.seed, fields.integer("seed", kMinInt, kMaxInt));
  if (request.seed == -1) request.seed.reset();  // vLLM's spelling of "draw one"
  TETRAD_TRY(read_penalties(fields, request));
  TETRAD_ASSIGN(request.logit_bias, read_logit_bias(fields));
  TETRAD_ASSIGN(request.allowed_token_ids, read_allowed_token_ids(fields));
  TETRAD_ASSIGN(request.bad_words, read_bad_words(fields));
  TETRAD_TRY(read_end(fields, dialect, request));
  TETRAD_ASSIGN(request.skip_special_tokens, read_flag(fields, "skip_special_tokens", true));
  TETRAD_ASSIGN(request.logprobs, read_logprobs(fields, dialect));
  TETRAD_ASSIGN(request.prompt_logprobs, fields.integer("prompt_logprobs", 0, kMaxLogprobs));
  return request;
}

Result<void> override_defaults(SamplingDefaults& defaults, const json::object& config) {
  FieldReader fields(config);
  TETRAD_ASSIGN(const auto temperature, fields.number("temperature", kTemperature));
  TETRAD_ASSIGN(const auto top_p, fields.number("top_p", kTopP));
  TETRAD_ASSIGN(const auto min_p, fields.number("min_p", kMinP));
  TETRAD_ASSIGN(const auto top_k, fields.integer("top_k", -1, kMaxInt));
  TETRAD_ASSIGN(const auto repetition_penalty,
                fields.number("repetition_penalty", kRepetitionPenalty));
  TETRAD_ASSIGN(const auto max_new_tokens, fields.integer("max_new_tokens", 1, kMaxInt));
  if (const auto unknown = fields.unread(); !unknown.empty()) {
    return fail_param(unknown.front(),
                      "\"{}\" has no default here; known are temperature, top_p, min_p, top_k, "
                      "repetition_penalty and max_new_tokens",
                      unknown.front());
  }
  lay_over(defaults.temperature, temperature);
  lay_over(defaults.top_p, top_p);
  lay_over(defaults.min_p, min_p);
  lay_over(defaults.top_k, top_k);
  lay_over(defaults.repetition_penalty, repetition_penalty);
  lay_over(defaults.max_tokens, max_new_tokens);
  return {};
}

SamplingParams resolve(const SamplingRequest& request, const SamplingDefaults& defaults) {
  const auto choose = [](const auto& stated, const auto& model_default, auto otherwise) {
    return stated.value_or(model_default.value_or(otherwise));
  };
  SamplingParams params;
  params.temperature = static_cast<float>(choose(request.temperature, defaults.temperature, 1.0));
  params.top_p = static_cast<float>(choose(request.top_p, defaults.top_p, 1.0));
  params.min_p = static_cast<float>(choose(request.min_p, defaults.min_p, 0.0));
  params.top_k = std::max<int64_t>(0, choose(request.top_k, defaults.top_k, int64_t{0}));
  params.repetition_penalty =
      static_cast<float>(choose(request.repetition_penalty, defaults.repetition_penalty, 1.0));
  params.frequency_penalty = static_cast<float>(request.frequency_penalty.value_or(0.0));
  params.presence_penalty = static_cast<float>(request.presence_penalty.value_or(0.0));
  params.logit_bias = request.logit_bias;
  params.allowed_token_ids = request.allowed_token_ids;
  if (request.seed) params.seed = static_cast<uint64_t>(*request.seed);
  params.max_tokens = choose(request.max_tokens, defaults.max_tokens, int64_t{0});
  params.min_tokens = request.min_tokens.value_or(0);
  params.stop = request.stop;
  params.include_stop_str_in_output = request.include_stop_str_in_output;
  params.stop_token_ids = request.stop_token_ids;
  params.ignore_eos = request.ignore_eos;
  params.skip_special_tokens = request.skip_special_tokens;
  params.logprobs = request.logprobs;
  params.prompt_logprobs = request.prompt_logprobs;
  return params;
}

}  // namespace tetrad::api
