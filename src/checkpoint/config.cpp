#include "checkpoint/config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "checkpoint/json_fields.h"

namespace tetrad {
namespace {

constexpr int64_t kMaxSize = std::numeric_limits<int32_t>::max();
/// Far above any model of the family; keeps a damaged file from asking for lists of 2^62 names.
constexpr int64_t kMaxExpertsInAllLayers = int64_t{1} << 18;
constexpr double kHuge = std::numeric_limits<double>::max();
constexpr double kLeast = std::numeric_limits<double>::min();  // above 0

struct SizeField {
  std::string_view name;
  int64_t ModelConfig::* member;
};

constexpr std::array kSizeFields = {
    SizeField{"vocab_size", &ModelConfig::vocab_size},
    SizeField{"hidden_size", &ModelConfig::hidden_size},
    SizeField{"num_hidden_layers", &ModelConfig::num_hidden_layers},
    SizeField{"num_attention_heads", &ModelConfig::num_attention_heads},
    SizeField{"num_key_value_heads", &ModelConfig::num_key_value_heads},
    // Never derived: MiniMax-M2 has num_attention_heads * head_dim != hidden_size.
    SizeField{"head_dim", &ModelConfig::head_dim},
    SizeField{"intermediate_size", &ModelConfig::intermediate_size},
    SizeField{"num_experts_per_tok", &ModelConfig::num_experts_per_tok},
    SizeField{"max_position_embeddings", &ModelConfig::max_position_embeddings},
};

tl::unexpected<Error> missing(std::string_view name) {
  return fail(ErrorCode::corrupt_data, "\"{}\" is missing", name);
}

/// One value a file may state in several places: all that are present must agree.
template <class T>
class AgreedValue {
 public:
  Result<void> add(std::string where, const std::optional<T>& value) {
    if (!value) return {};
    if (value_ && *value_ != *value) {
      return fail(ErrorCode::corrupt_data, "\"{}\" is {} but \"{}\" says {}", where_, *value_,
                  where, *value);
    }
    value_ = value;
    where_ = std::move(where);
    return {};
  }

  const std::optional<T>& value() const { return value_; }
  const std::string& where() const { return where_; }

 private:
  std::optional<T> value_;
  std::string where_;
};

Result<void> check_model_type(const JsonFields& fields) {
  TETRAD_ASSIGN(const std::optional<std::string> type, fields.text("model_type"));
  if (!type) return missing("model_type");
  if (*type != "minimax_m2" && *type != "minimax") {
    return fail(ErrorCode::unsupported,
                "\"model_type\" is \"{}\"; tetrad runs \"minimax_m2\" (or \"minimax\")", *type);
  }
  return {};
}

Result<void> read_sizes(const JsonFields& fields, ModelConfig& config) {
  for (const SizeField& field : kSizeFields) {
    TETRAD_ASSIGN(const std::optional<int64_t> size, fields.integer(field.name, 1, kMaxSize));
    if (!size) return missing(field.name);
    config.*field.member = *size;
  }
  AgreedValue<int64_t> num_experts;
  for (const std::string_view name : {"num_local_experts", "num_experts"}) {
    TETRAD_ASSIGN(const std::optional<int64_t> count, fields.integer(name, 1, kMaxSize));
    TETRAD_TRY(num_experts.add(std::string(name), count));
  }
  const std::optional<int64_t> num_local_experts = num_experts.value();
  if (!num_local_experts) return missing("num_local_experts");
  config.num_local_experts = *num_local_experts;

  TETRAD_ASSIGN(const std::optional<int64_t> mtp, fields.integer("num_mtp_modules", 0, 1024));
  config.num_mtp_modules = mtp.value_or(0);

  TETRAD_ASSIGN(const std::optional<double> eps, fields.number("rms_norm_eps", 0.0, 1.0));
  if (!eps) return missing("rms_norm_eps");
  config.rms_norm_eps = *eps;
  return {};
}

/// What the file says about rotary embedding, wherever it says it.
struct RopeStatements {
  AgreedValue<double> theta;
  AgreedValue<int64_t> rotary_dim;
};

/// partial_rotary_factor * head_dim, which must be a whole number of dimensions.
Result<std::optional<int64_t>> rotary_dim_of_factor(const JsonFields& fields, int64_t head_dim) {
  TETRAD_ASSIGN(const std::optional<double> factor,
                fields.number("partial_rotary_factor", 0.0, 1.0));
  if (!factor) return std::nullopt;
  const double dims = *factor * static_cast<double>(head_dim);
  const double whole = std::round(dims);
  if (std::abs(dims - whole) > 1e-6 * static_cast<double>(head_dim)) {
    return fail(ErrorCode::corrupt_data,
                "\"{}\" = {} of \"head_dim\" = {} is not a whole number of dimensions",
                fields.name("partial_rotary_factor"), *factor, head_dim);
  }
  return static_cast<int64_t>(whole);
}

Result<void> add_rope_statements(const JsonFields& fields, int64_t head_dim, RopeStatements& rope) {
  TETRAD_ASSIGN(const std::optional<double> theta, fields.number("rope_theta", 0.0, kHuge));
  TETRAD_TRY(rope.theta.add(fields.name("rope_theta"), theta));
  TETRAD_ASSIGN(const std::optional<int64_t> rotary_dim, rotary_dim_of_factor(fields, head_dim));
  return rope.rotary_dim.add(fields.name("partial_rotary_factor"), rotary_dim);
}

/// `rope_parameters` of transformers 5, or `rope_scaling` of transformers 4: only plain RoPE.
Result<void> read_rope_object(const JsonFields& fields, std::string_view key, int64_t head_dim,
                              RopeStatements& rope) {
  TETRAD_ASSIGN(const json::object* const object, fields.object(key));
  if (object == nullptr) return {};
  const JsonFields inner(*object, fmt::format("{}.", key));
  for (const std::string_view type_key : {"rope_type", "type"}) {
    TETRAD_ASSIGN(const std::optional<std::string> type, inner.text(type_key));
    if (type && *type != "default") {
      return fail(ErrorCode::unsupported,
                  "\"{}\" is \"{}\": scaled rotary embeddings are not implemented",
                  inner.name(type_key), *type);
    }
  }
  static constexpr std::array<std::string_view, 4> kKnown = {"rope_type", "type", "rope_theta",
                                                             "partial_rotary_factor"};
  for (const auto& member : *object) {
    const std::string_view name = member.key();
    if (std::find(kKnown.begin(), kKnown.end(), name) != kKnown.end()) continue;
    if (inner.find(name) == nullptr) continue;
    return fail(ErrorCode::unsupported, "\"{}\" is not a parameter of plain rotary embedding",
                inner.name(name));
  }
  return add_rope_statements(inner, head_dim, rope);
}

Result<void> read_rope(const JsonFields& fields, ModelConfig& config) {
  RopeStatements rope;
  TETRAD_ASSIGN(const std::optional<int64_t> rotary_dim, fields.integer("rotary_dim", 1, kMaxSize));
  TETRAD_TRY(rope.rotary_dim.add("rotary_dim", rotary_dim));
  TETRAD_TRY(add_rope_statements(fields, config.head_dim, rope));
  TETRAD_TRY(read_rope_object(fields, "rope_parameters", config.head_dim, rope));
  TETRAD_TRY(read_rope_object(fields, "rope_scaling", config.head_dim, rope));

  const auto agreed_theta = rope.theta.value();
  const auto agreed_dim = rope.rotary_dim.value();
  if (!agreed_theta) return missing("rope_theta");
  if (!agreed_dim) return missing("rotary_dim");
  config.rope_theta = *agreed_theta;
  config.rotary_dim = *agreed_dim;
  if (config.rope_theta <= 0) {
    return fail(ErrorCode::corrupt_data, "\"rope_theta\" is {}, which is not positive",
                config.rope_theta);
  }
  if (config.rotary_dim < 2 || config.rotary_dim % 2 != 0 || config.rotary_dim > config.head_dim) {
    return fail(ErrorCode::corrupt_data,
                "\"rotary_dim\" is {}; it must be even and between 2 and \"head_dim\" = {}",
                config.rotary_dim, config.head_dim);
  }
  return {};
}

Result<void> check_dtype(const JsonFields& fields) {
  AgreedValue<std::string> dtype;
  for (const std::string_view key : {"dtype", "torch_dtype"}) {
    TETRAD_ASSIGN(std::optional<std::string> name, fields.text(key));
    if (name && name->starts_with("torch.")) name->erase(0, 6);
    TETRAD_TRY(dtype.add(std::string(key), name));
  }
  const std::optional<std::string>& name = dtype.value();
  if (name && *name != "bfloat16" && *name != "float16" && *name != "float32") {
    return fail(ErrorCode::unsupported, "\"{}\" is \"{}\"; known are bfloat16, float16 and float32",
                dtype.where(), *name);
  }
  return {};
}

/// Members that change what the model computes, with the only value this program computes. Absent
/// means that value.
Result<void> refuse_other_architectures(const JsonFields& fields) {
  struct TextRule {
    std::string_view key, wanted;
  };
  for (const auto& [key, wanted] :
       {TextRule{"scoring_func", "sigmoid"}, TextRule{"qk_norm_type", "per_layer"},
        TextRule{"hidden_act", "silu"}}) {
    TETRAD_ASSIGN(const std::optional<std::string> found, fields.text(key));
    if (found && *found != wanted) {
      return fail(ErrorCode::unsupported, "\"{}\" is \"{}\"; only \"{}\" is implemented", key,
                  *found, wanted);
    }
  }
  struct FlagRule {
    std::string_view key;
    bool wanted;
  };
  for (const auto& [key, wanted] :
       {FlagRule{"use_qk_norm", true}, FlagRule{"use_routing_bias", true},
        FlagRule{"tie_word_embeddings", false}, FlagRule{"attention_bias", false}}) {
    TETRAD_ASSIGN(const std::optional<bool> found, fields.boolean(key));
    if (found && *found != wanted) {
      return fail(ErrorCode::unsupported, "\"{}\" is {}; only {} is implemented", key, *found,
                  wanted);
    }
  }
  TETRAD_ASSIGN(const std::optional<int64_t> shared,
                fields.integer("shared_intermediate_size", 0, kMaxSize));
  if (shared.value_or(0) != 0) {
    return fail(ErrorCode::unsupported,
                "\"shared_intermediate_size\" is {}: shared experts are not implemented", *shared);
  }
  if (const json::value* window = fields.find("sliding_window"); window != nullptr) {
    return fail(ErrorCode::unsupported,
                "\"sliding_window\" is {}: only full attention is implemented",
                to_json_text(*window));
  }
  return {};
}

Result<void> check_list_length(std::string_view key, const json::array& list,
                               const ModelConfig& config) {
  if (std::cmp_equal(list.size(), config.num_hidden_layers)) return {};
  return fail(ErrorCode::corrupt_data, "\"{}\" has {} entries for \"num_hidden_layers\" = {}", key,
              list.size(), config.num_hidden_layers);
}

/// attn_type_list (original form: 1 is softmax attention) and layer_types (transformers 5).
Result<void> check_layer_types(const JsonFields& fields, const ModelConfig& config) {
  struct Rule {
    std::string_view key;
    json::value wanted;
  };
  for (const Rule& rule :
       {Rule{"attn_type_list", 1}, Rule{"layer_types", json::string("full_attention")}}) {
    TETRAD_ASSIGN(const json::array* const list, fields.array(rule.key));
    if (list == nullptr) continue;
    TETRAD_TRY(check_list_length(rule.key, *list, config));
    for (size_t layer = 0; layer < list->size(); ++layer) {
      if ((*list)[layer] == rule.wanted) continue;
      return fail(ErrorCode::unsupported,
                  "\"{}\"[{}] is {}; only full attention ({}) is implemented", rule.key, layer,
                  to_json_text((*list)[layer]), to_json_text(rule.wanted));
    }
  }
  return {};
}

Result<void> check_relations(const ModelConfig& config) {
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    return fail(ErrorCode::corrupt_data,
                "\"num_attention_heads\" = {} is not a multiple of \"num_key_value_heads\" = {}",
                config.num_attention_heads, config.num_key_value_heads);
  }
  if (config.q_size() > kMaxSize) {
    return fail(ErrorCode::corrupt_data,
                "\"num_attention_heads\" = {} times \"head_dim\" = {} is more than {}",
                config.num_attention_heads, config.head_dim, kMaxSize);
  }
  if (config.num_experts_per_tok > config.num_local_experts) {
    return fail(ErrorCode::corrupt_data,
                "\"num_experts_per_tok\" = {} is more than \"num_local_experts\" = {}",
                config.num_experts_per_tok, config.num_local_experts);
  }
  if (config.num_local_experts > kMaxExpertsInAllLayers / config.num_hidden_layers) {
    return fail(ErrorCode::corrupt_data,
                "\"num_local_experts\" = {} in \"num_hidden_layers\" = {} are more than {} experts",
                config.num_local_experts, config.num_hidden_layers, kMaxExpertsInAllLayers);
  }
  return {};
}

/// A number or a list of numbers, as generation_config.json writes eos_token_id.
Result<std::vector<int32_t>> read_token_ids(const JsonFields& fields, std::string_view key) {
  const json::value* found = fields.find(key);
  if (found == nullptr) return std::vector<int32_t>{};
  const json::array list = found->is_array() ? found->get_array() : json::array{*found};
  std::vector<int32_t> ids;
  for (const json::value& item : list) {
    json::error_code ec;
    const auto id = item.is_double() ? -1 : item.to_number<int32_t>(ec);
    if (ec || id < 0) {
      return fail(ErrorCode::corrupt_data,
                  "\"{}\" must be a token id or a list of token ids; {} is none", fields.name(key),
                  to_json_text(item));
    }
    ids.push_back(id);
  }
  return ids;
}

}  // namespace

Result<ModelConfig> ModelConfig::parse(const json::value& config) {
  if (!config.is_object()) {
    return fail(ErrorCode::corrupt_data, "a model configuration must be a JSON object, not {}",
                json_kind_name(config));
  }
  ModelConfig result;
  result.raw = config.get_object();
  const JsonFields fields(result.raw);
  TETRAD_TRY(check_model_type(fields));
  TETRAD_TRY(read_sizes(fields, result));
  TETRAD_TRY(check_relations(result));
  TETRAD_TRY(read_rope(fields, result));
  TETRAD_TRY(check_dtype(fields));
  TETRAD_TRY(refuse_other_architectures(fields));
  TETRAD_TRY(check_layer_types(fields, result));
  return result;
}

Result<GenerationDefaults> GenerationDefaults::parse(const json::value& config) {
  if (!config.is_object()) {
    return fail(ErrorCode::corrupt_data, "a generation configuration must be a JSON object, not {}",
                json_kind_name(config));
  }
  const JsonFields fields(config.get_object());
  GenerationDefaults result;
  TETRAD_ASSIGN(result.temperature, fields.number("temperature", 0.0, 2.0));
  TETRAD_ASSIGN(result.top_p, fields.number("top_p", 0.0, 1.0));
  // 0 and -1 both switch it off, depending on who wrote the file.
  TETRAD_ASSIGN(result.top_k, fields.integer("top_k", -1, kMaxSize));
  TETRAD_ASSIGN(result.min_p, fields.number("min_p", 0.0, 1.0));
  TETRAD_ASSIGN(result.repetition_penalty, fields.number("repetition_penalty", kLeast, 100.0));
  TETRAD_ASSIGN(result.max_new_tokens, fields.integer("max_new_tokens", 1, kMaxSize));
  TETRAD_ASSIGN(result.eos_token_ids, read_token_ids(fields, "eos_token_id"));
  return result;
}

}  // namespace tetrad
