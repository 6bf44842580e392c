#include "checkpoint/quantization_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "checkpoint/json_fields.h"

namespace tetrad {
namespace {

/// Whose tensors tell the format. Others (gptq, awq, bitsandbytes …) use the same names and dtypes
/// for something else.
constexpr std::array<std::string_view, 11> kKnownMethods = {
    "mxfp4_16", "mxfp416",      "rxf",   "fp8",   "compressed_tensors", "modelopt",
    "quark",    "modelopt_fp4", "mxfp4", "nvfp4", "fbgemm_fp8"};

std::string normalised(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '-') c = '_';
  }
  return text;
}

Result<int8_t> read_level(const json::value& item, std::string_view where) {
  const double level = item.is_number() ? item.to_number<double>() : std::nan("");
  if (!(level >= -128 && level <= 127) || level != std::trunc(level)) {
    return fail(ErrorCode::unsupported,
                "\"{}\" holds {}: the levels of a codebook must be integers of 8 bits", where,
                to_json_text(item));
  }
  return static_cast<int8_t>(level);
}

Result<Codebook> read_codebook(const json::value& value, std::string_view where) {
  if (!value.is_array() || value.get_array().size() != std::tuple_size_v<Codebook>) {
    return fail(ErrorCode::unsupported, "\"{}\" must be a list of 16 integers, it is {}", where,
                value.is_array() ? fmt::format("a list of {}", value.get_array().size())
                                 : std::string(json_kind_name(value)));
  }
  Codebook codebook{};
  for (size_t i = 0; i < codebook.size(); ++i) {
    TETRAD_ASSIGN(codebook[i], read_level(value.get_array()[i], where));
  }
  return codebook;
}

/// Walks the whole object, since the writers of this format put these members at different places.
class Walk {
 public:
  Result<void> visit(const json::value& value, const std::string& path) {
    if (const json::object* object = value.if_object()) {
      for (const auto& [key, inner] : *object) {
        const std::string where = fmt::format("{}.{}", path, std::string_view(key));
        TETRAD_TRY(check_member(key, inner, where));
        TETRAD_TRY(visit(inner, where));
      }
    } else if (const json::array* array = value.if_array()) {
      for (size_t i = 0; i < array->size(); ++i)
        TETRAD_TRY(visit((*array)[i], fmt::format("{}[{}]", path, i)));
    }
    return {};
  }

  NibbleOrder nibble_order() const { return nibble_order_.value_or(NibbleOrder::low_first); }
  Codebook codebook() const { return codebook_.value_or(kIq4NlCodebook); }

 private:
  Result<void> check_member(std::string_view key, const json::value& value,
                            const std::string& where) {
    if (value.is_null()) return {};
    if (key == "rotation") {
      return fail(ErrorCode::unsupported,
                  "\"{}\" is {}: rotated weights are not implemented, and without their rotation "
                  "they mean something else",
                  where, to_json_text(value));
    }
    if (key == "transform_config" && !is_empty_transform(value)) {
      return fail(ErrorCode::unsupported,
                  "\"{}\" is {}: transformed weights are not implemented, and without their "
                  "transform they mean something else",
                  where, to_json_text(value));
    }
    if (key == "nibble_order") return add_nibble_order(value, where);
    if (key == "codebook") return add_codebook(value, where);
    return {};
  }

  /// compressed-tensors writes the member without a transform too.
  static bool is_empty_transform(const json::value& value) {
    const json::object* object = value.if_object();
    if (object == nullptr) return false;
    const json::value* groups = object->if_contains("config_groups");
    if (groups == nullptr) return object->empty();
    return groups->is_null() || (groups->is_object() && groups->get_object().empty());
  }

  Result<void> add_nibble_order(const json::value& value, const std::string& where) {
    const bool high_first = value == json::string("high_first");
    if (!high_first && value != json::string("low_first")) {
      return fail(ErrorCode::unsupported,
                  "\"{}\" is {}; known are \"low_first\" and \"high_first\"", where,
                  to_json_text(value));
    }
    const auto found = high_first ? NibbleOrder::high_first : NibbleOrder::low_first;
    if (nibble_order_ && *nibble_order_ != found) {
      return fail(ErrorCode::unsupported,
                  "\"{}\" contradicts another \"nibble_order\": one order for all modules is "
                  "implemented",
                  where);
    }
    nibble_order_ = found;
    return {};
  }

  Result<void> add_codebook(const json::value& value, const std::string& where) {
    TETRAD_ASSIGN(const Codebook found, read_codebook(value, where));
    if (codebook_ && *codebook_ != found) {
      return fail(ErrorCode::unsupported,
                  "\"{}\" and \"{}\" differ: one codebook for all modules is implemented",
                  codebook_path_, where);
    }
    codebook_ = found;
    codebook_path_ = where;
    return {};
  }

  std::optional<Codebook> codebook_;
  std::string codebook_path_;
  std::optional<NibbleOrder> nibble_order_;
};

Result<void> check_block_size(const JsonFields& fields) {
  TETRAD_ASSIGN(const json::array* const block, fields.array("weight_block_size"));
  if (block == nullptr || *block == json::array{kFp8BlockSize, kFp8BlockSize}) return {};
  return fail(ErrorCode::unsupported, "\"{}\" is {}; only [{}, {}] is implemented",
              fields.name("weight_block_size"), to_json_text(*block), kFp8BlockSize, kFp8BlockSize);
}

/// What cannot be understood does no harm: it only decides what "auto" means.
bool announces_fp8_kv_cache(const json::object& object) {
  if (const json::value* algorithm = object.if_contains("kv_cache_quant_algo")) {
    return algorithm->is_string() && normalised(std::string(algorithm->get_string())) == "fp8";
  }
  const json::value* scheme = object.if_contains("kv_cache_scheme");
  if (scheme == nullptr || !scheme->is_object()) return false;
  const json::value* type = scheme->get_object().if_contains("type");
  const json::value* bits = scheme->get_object().if_contains("num_bits");
  return type != nullptr && *type == json::string("float") && bits != nullptr && *bits == 8;
}

}  // namespace

Result<QuantizationConfig> QuantizationConfig::parse(const json::object& model_config) {
  QuantizationConfig result;
  const JsonFields outer(model_config);
  TETRAD_ASSIGN(const json::object* const object, outer.object("quantization_config"));
  if (object == nullptr) return result;

  const JsonFields fields(*object, "quantization_config.");
  TETRAD_ASSIGN(const std::optional<std::string> method, fields.text("quant_method"));
  if (!method) {
    return fail(ErrorCode::corrupt_data, "\"{}\" is missing", fields.name("quant_method"));
  }
  result.quant_method = normalised(*method);
  if (std::find(kKnownMethods.begin(), kKnownMethods.end(), result.quant_method) ==
      kKnownMethods.end()) {
    return fail(ErrorCode::unsupported, "\"{}\" is \"{}\"; known are {}",
                fields.name("quant_method"), *method, fmt::join(kKnownMethods, ", "));
  }
  TETRAD_TRY(check_block_size(fields));
  Walk walk;
  TETRAD_TRY(walk.visit(*object, "quantization_config"));
  result.codebook = walk.codebook();
  result.nibble_order = walk.nibble_order();
  result.fp8_kv_cache = announces_fp8_kv_cache(*object);
  return result;
}

}  // namespace tetrad
