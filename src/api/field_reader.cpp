#include "api/field_reader.h"

#include <cmath>

namespace tetrad::api {

FieldReader::FieldReader(const json::object& object, std::string prefix)
    : object_(object), prefix_(std::move(prefix)) {}

const json::value* FieldReader::find(std::string_view name) {
  known_.emplace(name);
  const json::value* value = object_.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Result<std::optional<bool>> FieldReader::boolean(std::string_view name) {
  const json::value* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_bool()) return wrong_kind(full_name(name), "true or false", *value);
  return value->get_bool();
}

Result<std::optional<int64_t>> FieldReader::integer(std::string_view name, int64_t min,
                                                    int64_t max) {
  const json::value* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) return wrong_kind(full_name(name), "an integer", *value);
  const std::optional<int64_t> integer = as_integer(*value);
  if (!integer || *integer < min || *integer > max) {
    const std::string field = full_name(name);
    return fail_param(field, "\"{}\" must be an integer from {} to {}, not {}", field, min, max,
                      to_json_text(*value));
  }
  return integer;
}

Result<std::optional<double>> FieldReader::number(std::string_view name, NumberRange range) {
  const json::value* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) return wrong_kind(full_name(name), "a number", *value);
  const auto number = value->to_number<double>();
  const bool too_small = range.above_min ? number <= range.min : number < range.min;
  if (too_small || number > range.max || std::isnan(number)) {
    const std::string field = full_name(name);
    return fail_param(field, "\"{}\" must be {} {} and at most {}, not {}", field,
                      range.above_min ? "greater than" : "at least", range.min, range.max,
                      to_json_text(*value));
  }
  return number;
}

Result<std::optional<std::string>> FieldReader::string(std::string_view name) {
  const json::value* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return wrong_kind(full_name(name), "a string", *value);
  return std::string(value->get_string());
}

Result<std::string> FieldReader::required_string(std::string_view name) {
  TETRAD_ASSIGN(std::optional<std::string> text, string(name));
  const std::string field = full_name(name);
  if (!text) return fail_param(field, "\"{}\" is missing", field);
  return std::move(*text);
}

Result<const json::array*> FieldReader::array(std::string_view name) {
  const json::value* value = find(name);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) return wrong_kind(full_name(name), "an array", *value);
  return &value->get_array();
}

Result<const json::object*> FieldReader::object(std::string_view name) {
  const json::value* value = find(name);
  if (value == nullptr) return nullptr;
  if (!value->is_object()) return wrong_kind(full_name(name), "an object", *value);
  return &value->get_object();
}

std::vector<std::string> FieldReader::unread() const {
  std::vector<std::string> names;
  for (const auto& member : object_) {
    const std::string_view name = member.key();
    if (!known_.contains(name)) names.push_back(full_name(name));
  }
  return names;
}

std::optional<int64_t> as_integer(const json::value& value) {
  if (value.is_int64()) return value.get_int64();
  // Beyond 2^53 a double no longer says which integer was meant.
  constexpr double kExactlyRepresentable = 9007199254740992.0;
  if (value.is_double()) {
    const double number = value.get_double();
    if (std::abs(number) <= kExactlyRepresentable && std::trunc(number) == number) {
      return static_cast<int64_t>(number);
    }
  }
  return std::nullopt;
}

tl::unexpected<Error> wrong_kind(std::string_view full_name, std::string_view expected,
                                 const json::value& value) {
  return fail_param(full_name, "\"{}\" must be {}, not {}", full_name, expected,
                    json_kind_name(value));
}

tl::unexpected<Error> unsupported_field(std::string_view full_name, std::string message) {
  return tl::unexpected<Error>(
      Error{ErrorCode::unsupported, std::move(message), std::string(full_name)});
}

}  // namespace tetrad::api
