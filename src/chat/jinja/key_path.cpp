#include "chat/jinja/key_path.h"

#include <algorithm>

#include "chat/jinja/attributes.h"
#include "chat/jinja/number_text.h"
#include "chat/jinja/string_tools.h"
#include "chat/jinja/unicode.h"

namespace tetrad::jinja {

KeyPath KeyPath::parse_text(std::string_view text) {
  KeyPath path;
  for (const std::string_view part : split_at(text, ".", SIZE_MAX, Side::left)) {
    const bool is_number = !part.empty() && std::all_of(part.begin(), part.end(), [](char c) {
      return c >= '0' && c <= '9';
    });
    const auto index = is_number ? parse_int(part, 10) : std::nullopt;
    path.keys_.push_back(index ? Value::integer(*index) : Value::string(std::string(part)));
  }
  return path;
}

Result<KeyPath> KeyPath::parse(const Value& attribute) {
  KeyPath path;
  if (attribute.is_none()) return path;
  if (attribute.is_string()) return parse_text(attribute.bytes());
  path.keys_.push_back(attribute);
  return path;
}

Result<std::vector<KeyPath>> KeyPath::parse_list(const Value& attribute) {
  std::vector<KeyPath> paths;
  if (!attribute.is_string()) {
    TETRAD_ASSIGN(KeyPath path, parse(attribute));
    paths.push_back(std::move(path));
    return paths;
  }
  for (const std::string_view part : split_at(attribute.bytes(), ",", SIZE_MAX, Side::left)) {
    paths.push_back(parse_text(part));
  }
  return paths;
}

Result<Value> KeyPath::get(const Value& item, Budget& budget,
                           const std::optional<Value>& fallback) const {
  Value value = item;
  for (const Value& key : keys_) {
    TETRAD_TRY(budget.spend());
    TETRAD_ASSIGN(value, get_item(value, key, budget));
    if (fallback && value.is_undefined()) value = *fallback;
  }
  return value;
}

Result<Value> ignore_case(const Value& value, Budget& budget) {
  if (!value.is_string()) return value;
  return Value::string(to_lower(value.bytes()), budget);
}

}  // namespace tetrad::jinja
