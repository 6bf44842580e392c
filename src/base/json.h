#pragma once

// Boost.JSON behind one door: the limits, the duplicate-key rule and the error texts are the same
// for config files, tokenizers and requests.

#include <boost/json.hpp>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tetrad {

namespace json = boost::json;

struct JsonLimits {
  size_t max_depth = 64;
};

/// Parses one JSON document. Errors name the byte offset. Refuses invalid UTF-8, nesting deeper
/// than the limit, and a key that appears twice in one object: Boost.JSON would silently keep the
/// last one, and two readers of the same file or request must not disagree about what it says.
Result<json::value> parse_json(std::string_view text, JsonLimits limits = {});

/// "an object", "a string", …: for error messages.
std::string_view json_kind_name(const json::value& value);

/// Compact JSON text, object keys in their order of insertion.
std::string to_json_text(const json::value& value);

}  // namespace tetrad
