#include "text/file_fields.h"

#include <fmt/core.h>

#include <string>

namespace tetrad::file_fields {
namespace {

std::string path_of(std::string_view where, std::string_view key) {
  return where.empty() ? std::string(key) : fmt::format("{}.{}", where, key);
}

}  // namespace

Result<const json::object*> as_object(const json::value& value, std::string_view where) {
  if (const json::object* object = value.if_object()) return object;
  return fail(ErrorCode::corrupt_data, "{} must be an object, not {}", where,
              json_kind_name(value));
}

Result<const json::array*> as_array(const json::value& value, std::string_view where) {
  if (const json::array* array = value.if_array()) return array;
  return fail(ErrorCode::corrupt_data, "{} must be an array, not {}", where, json_kind_name(value));
}

Result<const json::value*> member(const json::object& object, std::string_view key,
                                  std::string_view where) {
  if (const json::value* value = object.if_contains(key)) return value;
  return fail(ErrorCode::corrupt_data, "{} is missing", path_of(where, key));
}

const json::value* member_if_set(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Result<TokenId> token_id(const json::value& value) {
  json::error_code ec;
  const auto id = value.to_number<int64_t>(ec);
  if (ec || value.is_double()) {
    return fail(ErrorCode::corrupt_data, "expected a token id, not {}",
                value.is_number() ? to_json_text(value) : std::string(json_kind_name(value)));
  }
  if (id < 0 || id > kMaxTokenId) {
    return fail(ErrorCode::corrupt_data, "the token id {} is outside 0 to {}", id, kMaxTokenId);
  }
  return static_cast<TokenId>(id);
}

Result<std::string_view> string_member(const json::object& object, std::string_view key,
                                       std::string_view where) {
  TETRAD_ASSIGN(const json::value* value, member(object, key, where));
  if (const json::string* text = value->if_string()) return std::string_view(*text);
  return fail(ErrorCode::corrupt_data, "{} must be a string, not {}", path_of(where, key),
              json_kind_name(*value));
}

Result<bool> bool_member_or(const json::object& object, std::string_view key, bool fallback,
                            std::string_view where) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return fallback;
  if (const bool* flag = value->if_bool()) return *flag;
  return fail(ErrorCode::corrupt_data, "{} must be true or false, not {}", path_of(where, key),
              json_kind_name(*value));
}

}  // namespace tetrad::file_fields
