#pragma once

#include <optional>
#include <vector>

#include "chat/jinja/value.h"

namespace tetrad::jinja {

/// The `attribute` of filters such as map and sort: "address.city", "tags.0" or an index.
class KeyPath {
 public:
  /// None: the item itself.
  static Result<KeyPath> parse(const Value& attribute);
  /// "a.b,c": several paths, for sort.
  static Result<std::vector<KeyPath>> parse_list(const Value& attribute);

  /// Follows the path from `item`; `fallback` takes the place of what is undefined on the way.
  Result<Value> get(const Value& item, Budget& budget,
                    const std::optional<Value>& fallback = std::nullopt) const;

 private:
  static KeyPath parse_text(std::string_view text);

  std::vector<Value> keys_;
};

/// Strings in lower case, as filters compare them unless told to be case-sensitive.
Result<Value> ignore_case(const Value& value, Budget& budget);

}  // namespace tetrad::jinja
