#include "api/sampling_request.h"

#include <limits>

namespace tetrad::api {
namespace {

constexpr int64_t kMaxInt = std::numeric_limits<int64_t>::max();
constexpr int64_t kMinInt = std::numeric_limits<int64_t>::min();
constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 1024;
constexpr size_t kMaxStopTokenIds = 128;

constexpr NumberRange kTemperature{.min = 0, .max = 2};
constexpr NumberRange kTopP{.min = 0, .max = 1, .above_min = true};
constexpr NumberRange kMinP{.min = 0, .max = 1};

Result<std::string> stop_string(const json::value& value) {
  if (!value.is_string()) return wrong_kind("stop", "a string or an array of strings", value);
  const json::string& text = value.get_string();
  if (text.empty() || text.size() > kMaxStopBytes) {
    return fail_param("stop", "a \"stop\" string must be 1 to {} bytes long, this one has {}",
                      kMaxStopBytes, text.size());
  }
  return std::string(text);
}

Result<std::vector<std::string>> read_stop(FieldReader& fields) {
  std::vector<std::string> stop;
  const json::value* value = fields.find("stop");
  if (value == nullptr) return stop;
  if (!value->is_array()) {
    TETRAD_ASSIGN(std::string text, stop_string(*value));
    stop.push_back(std::move(text));
    return stop;
  }
  if (value->get_array().size() > kMaxStops) {
    return fail_param("stop", "\"stop\" may hold at most {} strings, not {}", kMaxStops,
                      value->get_array().size());
  }
  for (const json::value& item : value->get_array()) {
    TETRAD_ASSIGN(std::string text, stop_string(item));
    stop.push_back(std::move(text));
  }
  return stop;
}

Result<std::vector<TokenId>> read_stop_token_ids(FieldReader& fields) {
  std::vector<TokenId> ids;
  TETRAD_ASSIGN(const json::array* values, fields.array("stop_token_ids"));
  if (values == nullptr) return ids;
  if (values->size() > kMaxStopTokenIds) {
    return fail_param("stop_token_ids", "\"stop_token_ids\" may hold at most {} ids, not {}",
                      kMaxStopTokenIds, values->size());
  }
  for (const json::value& value : *values) {
    const std::optional<int64_t> id = as_integer(value);
    if (!id || *id < 0 || *id > std::numeric_limits<TokenId>::max()) {
      return fail_param("stop_token_ids", "\"stop_token_ids\": {} is not a token id",
                        to_json_text(value));
    }
    ids.push_back(static_cast<TokenId>(*id));
  }
  return ids;
}

template <class T>
void lay_over(std::optional<T>& target, const std::optional<T>& value) {
  if (value) target = value;
}

}  // namespace

Result<SamplingRequest> read_sampling(FieldReader& fields) {
  SamplingRequest request;
  TETRAD_ASSIGN(request.temperature, fields.number("temperature", kTemperature));
  TETRAD_ASSIGN(request.top_p, fields.number("top_p", kTopP));
  TETRAD_ASSIGN(request.min_p, fields.number("min_p", kMinP));
  TETRAD_ASSIGN(request.top_k, fields.integer("top_k", -1, kMaxInt));
  TETRAD_ASSIGN(request.seed, fields.integer("seed", kMinInt, kMaxInt));
  if (request.seed == -1) request.seed.reset();  // vLLM's spelling of "draw one"
  // max_tokens is the older name of max_completion_tokens; the newer one wins.
  TETRAD_ASSIGN(request.max_tokens, fields.integer("max_tokens", 1, kMaxInt));
  TETRAD_ASSIGN(const std::optional<int64_t> max_completion_tokens,
                fields.integer("max_completion_tokens", 1, kMaxInt));
  lay_over(request.max_tokens, max_completion_tokens);
  TETRAD_ASSIGN(request.stop, read_stop(fields));
  TETRAD_ASSIGN(request.stop_token_ids, read_stop_token_ids(fields));
  TETRAD_ASSIGN(const std::optional<bool> ignore_eos, fields.boolean("ignore_eos"));
  request.ignore_eos = ignore_eos.value_or(false);
  TETRAD_ASSIGN(const std::optional<bool> skip_special_tokens,
                fields.boolean("skip_special_tokens"));
  request.skip_special_tokens = skip_special_tokens.value_or(true);
  return request;
}

Result<void> override_defaults(SamplingDefaults& defaults, const json::object& config) {
  FieldReader fields(config);
  TETRAD_ASSIGN(const auto temperature, fields.number("temperature", kTemperature));
  TETRAD_ASSIGN(const auto top_p, fields.number("top_p", kTopP));
  TETRAD_ASSIGN(const auto min_p, fields.number("min_p", kMinP));
  TETRAD_ASSIGN(const auto top_k, fields.integer("top_k", -1, kMaxInt));
  TETRAD_ASSIGN(const auto max_new_tokens, fields.integer("max_new_tokens", 1, kMaxInt));
  if (const auto unknown = fields.unread(); !unknown.empty()) {
    return fail_param(unknown.front(),
                      "\"{}\" has no default here; known are temperature, top_p, min_p, top_k and "
                      "max_new_tokens",
                      unknown.front());
  }
  lay_over(defaults.temperature, temperature);
  lay_over(defaults.top_p, top_p);
  lay_over(defaults.min_p, min_p);
  lay_over(defaults.top_k, top_k);
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
  if (request.seed) params.seed = static_cast<uint64_t>(*request.seed);
  params.max_tokens = choose(request.max_tokens, defaults.max_tokens, int64_t{0});
  params.stop = request.stop;
  params.stop_token_ids = request.stop_token_ids;
  params.ignore_eos = request.ignore_eos;
  params.skip_special_tokens = request.skip_special_tokens;
  return params;
}

}  // namespace tetrad::api
