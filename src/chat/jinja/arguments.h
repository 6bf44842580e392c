#pragma once

// Matching the arguments of a call with the parameters of a built-in function.

#include <initializer_list>
#include <optional>
#include <string_view>
#include <vector>

#include "chat/jinja/object.h"

namespace tetrad::jinja {

struct Parameter {
  std::string_view name;
  /// Nothing: the argument is required.
  std::optional<Value> fallback;
};

/// One value for each parameter, in their order, as a Python call would bind them.
Result<std::vector<Value>> bind(std::string_view function, const Arguments& arguments,
                                std::initializer_list<Parameter> parameters);

/// For functions that take any number of positional arguments and no others.
Result<void> no_keywords(std::string_view function, const Arguments& arguments);

/// An argument that must be an integer (or a boolean), within 64 bits.
Result<int64_t> integer_argument(std::string_view what, const Value& value);
Result<std::string_view> string_argument(std::string_view what, const Value& value);

}  // namespace tetrad::jinja
