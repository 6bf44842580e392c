#include "checkpoint/json_fields.h"

#include <utility>

namespace tetrad {

JsonFields::JsonFields(const json::object& object, std::string path)
    : object_(&object), path_(std::move(path)) {}

const json::value* JsonFields::find(std::string_view key) const {
  const json::value* value = object_->if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::string JsonFields::name(std::string_view key) const {
  return fmt::format("{}{}", path_, key);
}

tl::unexpected<Error> JsonFields::wrong_kind(std::string_view key, std::string_view wanted,
                                             const json::value& found) const {
  return fail(ErrorCode::corrupt_data, "\"{}\" must be {}, not {}", name(key), wanted,
              json_kind_name(found));
}

Result<std::optional<int64_t>> JsonFields::integer(std::string_view key, int64_t min,
                                                   int64_t max) const {
  const json::value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_int64() && !value->is_uint64()) return wrong_kind(key, "an integer", *value);
  json::error_code ec;
  const auto integer = value->to_number<int64_t>(ec);
  if (ec || integer < min || integer > max) {
    return fail(ErrorCode::corrupt_data, "\"{}\" is {}, which is not between {} and {}", name(key),
                to_json_text(*value), min, max);
  }
  return integer;
}

Result<std::optional<double>> JsonFields::number(std::string_view key, double min,
                                                 double max) const {
  const json::value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) return wrong_kind(key, "a number", *value);
  const auto number = value->to_number<double>();
  // Written so that NaN fails too.
  if (!(number >= min && number <= max)) {
    return fail(ErrorCode::corrupt_data, "\"{}\" is {}, which is not between {} and {}", name(key),
                to_json_text(*value), min, max);
  }
  return number;
}

Result<std::optional<bool>> JsonFields::boolean(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_bool()) return wrong_kind(key, "true or false", *value);
  return value->get_bool();
}

Result<std::optional<std::string>> JsonFields::text(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return wrong_kind(key, "a string", *value);
  return std::string(value->get_string());
}

Result<const json::array*> JsonFields::array(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) return wrong_kind(key, "an array", *value);
  return &value->get_array();
}

Result<const json::object*> JsonFields::object(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr) return nullptr;
  if (!value->is_object()) return wrong_kind(key, "an object", *value);
  return &value->get_object();
}

}  // namespace tetrad
