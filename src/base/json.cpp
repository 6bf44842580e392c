#include "base/json.h"

#include <fmt/format.h>

#include <boost/json/basic_parser_impl.hpp>
#include <cmath>
#include <iterator>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace tetrad {
namespace {

/// A Boost.JSON handler that builds nothing and only looks for a key repeated within one object.
/// It runs as a second pass over text that the DOM parser has already accepted.
class DuplicateKeyFinder {
 public:
  static constexpr size_t max_object_size = SIZE_MAX;
  static constexpr size_t max_array_size = SIZE_MAX;
  static constexpr size_t max_key_size = SIZE_MAX;
  static constexpr size_t max_string_size = SIZE_MAX;

  std::string duplicate;

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) {
    open_objects_.emplace_back();
    return true;
  }
  bool on_object_end(size_t, json::error_code&) {
    open_objects_.pop_back();
    return true;
  }
  bool on_array_begin(json::error_code&) { return true; }
  bool on_array_end(size_t, json::error_code&) { return true; }
  bool on_key_part(json::string_view part, size_t, json::error_code&) {
    key_.append(part.data(), part.size());
    return true;
  }
  bool on_key(json::string_view part, size_t, json::error_code& ec) {
    key_.append(part.data(), part.size());
    if (!open_objects_.back().insert(key_).second) {
      duplicate = std::move(key_);
      ec = json::error::syntax;
      return false;
    }
    key_.clear();
    return true;
  }
  bool on_string_part(json::string_view, size_t, json::error_code&) { return true; }
  bool on_string(json::string_view, size_t, json::error_code&) { return true; }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(int64_t, json::string_view, json::error_code&) { return true; }
  bool on_uint64(uint64_t, json::string_view, json::error_code&) { return true; }
  bool on_double(double, json::string_view, json::error_code&) { return true; }
  bool on_bool(bool, json::error_code&) { return true; }
  bool on_null(json::error_code&) { return true; }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

 private:
  std::vector<std::unordered_set<std::string>> open_objects_;
  std::string key_;
};

/// Where a number stands that a double cannot hold, as ".a.b[3]"; none when all are finite. The
/// parser makes an infinity of it, which is no JSON when written again.
std::optional<std::string> path_of_infinity(const json::value& value) {
  if (const double* number = value.if_double(); number != nullptr && !std::isfinite(*number))
    return "";
  if (const json::object* object = value.if_object()) {
    for (const auto& [key, member] : *object) {
      if (const auto rest = path_of_infinity(member))
        return fmt::format(".{}{}", std::string_view(key), *rest);
    }
  }
  if (const json::array* array = value.if_array()) {
    for (size_t i = 0; i < array->size(); ++i) {
      if (const auto rest = path_of_infinity((*array)[i])) return fmt::format("[{}]{}", i, *rest);
    }
  }
  return std::nullopt;
}

/// The shortest digits that read back as the same number, and a number with a fraction in any case;
/// null for what JSON has no number for. Boost.JSON would write 2.1 as 2.1E0.
void append_json_number(std::string& text, double number) {
  if (!std::isfinite(number)) {
    text += "null";
    return;
  }
  const size_t begin = text.size();
  fmt::format_to(std::back_inserter(text), "{}", number);
  if (text.find_first_of(".e", begin) == std::string::npos) text += ".0";
}

void append_json(std::string& text, const json::value& value) {
  if (const double* number = value.if_double()) {
    append_json_number(text, *number);
  } else if (const json::object* object = value.if_object()) {
    char before = '{';
    for (const auto& [key, member] : *object) {
      text += std::exchange(before, ',');
      text += json::serialize(key);
      text += ':';
      append_json(text, member);
    }
    text += object->empty() ? "{}" : "}";
  } else if (const json::array* array = value.if_array()) {
    char before = '[';
    for (const json::value& element : *array) {
      text += std::exchange(before, ',');
      append_json(text, element);
    }
    text += array->empty() ? "[]" : "]";
  } else {
    text += json::serialize(value);
  }
}

json::parse_options options(JsonLimits limits) {
  json::parse_options result;
  result.max_depth = limits.max_depth;
  return result;
}

}  // namespace

Result<json::value> parse_json(std::string_view text, JsonLimits limits) {
  json::error_code ec;
  json::stream_parser parser({}, options(limits));
  const size_t consumed = parser.write_some(text.data(), text.size(), ec);
  if (!ec) {
    // Before finish(), which would call a value with text behind it incomplete.
    const size_t rest = text.find_first_not_of(" \t\r\n", consumed);
    if (rest != std::string_view::npos)
      return fail(ErrorCode::corrupt_data, "not valid JSON at byte {}: text after the value", rest);
    parser.finish(ec);
  }
  if (ec == json::error::too_deep) {
    return fail(ErrorCode::corrupt_data, "JSON nested deeper than {} levels, at byte {}",
                limits.max_depth, consumed);
  }
  if (ec)
    return fail(ErrorCode::corrupt_data, "not valid JSON at byte {}: {}", consumed, ec.message());
  json::basic_parser<DuplicateKeyFinder> finder(options(limits));
  finder.write_some(false, text.data(), text.size(), ec);
  if (const std::string& key = finder.handler().duplicate; !key.empty() || ec) {
    return fail(ErrorCode::corrupt_data, "the key \"{}\" appears twice in one JSON object", key);
  }
  json::value value = parser.release();
  if (const auto found = path_of_infinity(value)) {
    std::string_view path = *found;
    if (path.starts_with('.')) path.remove_prefix(1);
    return fail_param(path, "not valid JSON: {}: the number is out of range", path);
  }
  return value;
}

std::string_view json_kind_name(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::int64:
    case json::kind::uint64:
      return "an integer";
    case json::kind::double_:
      return "a number";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "an array";
    case json::kind::object:
      return "an object";
  }
  return "an unknown value";
}

std::string to_json_text(const json::value& value) {
  std::string text;
  append_json(text, value);
  return text;
}

}  // namespace tetrad
