#include "chat/jinja/arguments.h"

#include <algorithm>

namespace tetrad::jinja {

Result<std::vector<Value>> bind(std::string_view function, const Arguments& arguments,
                                std::initializer_list<Parameter> parameters) {
  if (arguments.positional.size() > parameters.size()) {
    return fail(ErrorCode::invalid_argument, "{}() takes at most {} arguments, {} given", function,
                parameters.size(), arguments.positional.size());
  }
  for (const auto& [name, value] : arguments.keyword) {
    const auto* const found = std::find_if(parameters.begin(), parameters.end(),
                                           [&](const auto& p) { return p.name == name; });
    if (found == parameters.end()) {
      return fail(ErrorCode::invalid_argument, "{}() got an unexpected keyword argument '{}'",
                  function, name);
    }
    if (static_cast<size_t>(found - parameters.begin()) < arguments.positional.size()) {
      return fail(ErrorCode::invalid_argument, "{}() got multiple values for argument '{}'",
                  function, name);
    }
  }
  std::vector<Value> bound = arguments.positional;
  for (size_t i = bound.size(); i < parameters.size(); ++i) {
    const Parameter& parameter = *(parameters.begin() + i);
    if (const Value* value = arguments.find_keyword(parameter.name)) {
      bound.push_back(*value);
    } else if (parameter.fallback) {
      bound.push_back(*parameter.fallback);
    } else {
      return fail(ErrorCode::invalid_argument, "{}() missing the argument '{}'", function,
                  parameter.name);
    }
  }
  return bound;
}

Result<void> no_keywords(std::string_view function, const Arguments& arguments) {
  if (arguments.keyword.empty()) return {};
  return fail(ErrorCode::invalid_argument, "{}() takes no keyword arguments", function);
}

Result<int64_t> integer_argument(std::string_view what, const Value& value) {
  if (!value.is_integral()) {
    return fail(ErrorCode::invalid_argument, "{} must be an integer, not {}", what,
                value.is_undefined() ? value.why_undefined() : std::string(value.type_name()));
  }
  const Int number = value.as_integer();
  if (number != static_cast<int64_t>(number)) {
    return fail(ErrorCode::invalid_argument, "{} is too large", what);
  }
  return static_cast<int64_t>(number);
}

Result<std::string_view> string_argument(std::string_view what, const Value& value) {
  if (value.is_string()) return value.bytes();
  return fail(ErrorCode::invalid_argument, "{} must be a string, not {}", what,
              value.is_undefined() ? value.why_undefined() : std::string(value.type_name()));
}

}  // namespace tetrad::jinja
