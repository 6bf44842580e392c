#include "base/json.h"

#include <fmt/format.h>

#include <boost/json/basic_parser_impl.hpp>
#include <cmath>
#include <string>
#include <unordered_set>
#include <vector>

namespace tetrad {
namespace {

/// A Boost.JSON handler that builds nothing and looks for what the DOM parser lets pass: a key
/// repeated within one object, and a number that a double cannot hold, which becomes an infinity
/// there and no JSON when written again. It runs as a second pass over accepted text.
class SecondLook {
 public:
  static constexpr size_t max_object_size = SIZE_MAX;
  static constexpr size_t max_array_size = SIZE_MAX;
  static constexpr size_t max_key_size = SIZE_MAX;
  static constexpr size_t max_string_size = SIZE_MAX;

  /// What is wrong; empty when nothing is.
  std::string fault;

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
      fault = fmt::format("the key \"{}\" appears twice in one JSON object", key_);
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
  bool on_double(double value, json::string_view, json::error_code& ec) {
    if (std::isfinite(value)) return true;
    fault = "the number is out of range";
    ec = json::error::syntax;
    return false;
  }
  bool on_bool(bool, json::error_code&) { return true; }
  bool on_null(json::error_code&) { return true; }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

 private:
  std::vector<std::unordered_set<std::string>> open_objects_;
  std::string key_;
};

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
  if (!ec) parser.finish(ec);
  if (ec) {
    return fail(ErrorCode::corrupt_data, "not valid JSON at byte {}: {}", consumed, ec.message());
  }
  for (size_t i = consumed; i < text.size(); ++i) {
    if (std::string_view(" \t\r\n").find(text[i]) == std::string_view::npos) {
      return fail(ErrorCode::corrupt_data, "not valid JSON at byte {}: text after the value", i);
    }
  }
  json::basic_parser<SecondLook> second(options(limits));
  const size_t looked_at = second.write_some(false, text.data(), text.size(), ec);
  if (ec) {
    const std::string& fault = second.handler().fault;
    return fail(ErrorCode::corrupt_data, "not valid JSON at byte {}: {}", looked_at,
                fault.empty() ? ec.message() : fault);
  }
  return parser.release();
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
  return json::serialize(value);
}

}  // namespace tetrad
