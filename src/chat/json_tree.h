#pragma once

// JSON whose numbers keep their digits, which base/json.h's values do not.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tetrad {

struct JsonTree {
  enum class Kind { literal, number, string, array, object };

  Kind kind = Kind::literal;
  std::string text;  // true, false or null; digits; a string's characters
  std::string key;   // of a member of an object
  std::vector<JsonTree> children;
};

/// None if `text` is no JSON, is nested deeper than `max_depth`, or has a number that no double can
/// hold. Of a repeated key the last value stays, in the first one's place.
std::optional<JsonTree> parse_json_tree(std::string_view text, size_t max_depth);

}  // namespace tetrad
