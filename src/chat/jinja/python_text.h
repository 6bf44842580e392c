#pragma once

// str() and repr() of values.

#include <string>
#include <string_view>

#include "chat/jinja/value.h"

namespace tetrad::jinja {

/// Writes repr() of values to one string, paying for every part of it.
class ReprWriter {
 public:
  explicit ReprWriter(Budget& budget) : budget_(&budget) {}

  Result<void> append(const Value& value);
  /// Plain text, as it is.
  Result<void> append(std::string_view text);
  Result<void> append_dict(const Dict& dict);
  Result<void> append_list(const std::vector<Value>& items);

  template <class... Parts>
  Result<void> append_all(const Parts&... parts) {
    Result<void> result;
    ((result ? void(result = append(std::string_view(parts))) : void()), ...);
    return result;
  }

  std::string take() { return std::move(text_); }

 private:
  Result<void> append_quoted(std::string_view text);
  Result<void> append_tuple(const std::vector<Value>& items);
  Result<void> append_items(const std::vector<Value>& items);

  Budget* budget_;
  std::string text_;
  // Namespaces can contain themselves, so that the depth of the value is no bound.
  int depth_ = 0;
};

Result<std::string> repr(const Value& value, Budget& budget);

/// str(): strings as they are, everything else by repr, undefined as nothing.
Result<std::string> to_text(const Value& value, Budget& budget);

/// str() as a string value; a string is returned as it is, without a copy.
Result<Value> to_string_value(const Value& value, Budget& budget);

/// Appends str() to `out`, which may not grow beyond the budget's longest string.
Result<void> append_text(std::string& out, const Value& value, Budget& budget);

}  // namespace tetrad::jinja
