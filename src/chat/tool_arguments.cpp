#include "chat/tool_arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <optional>

#include "base/trimmed.h"
#include "chat/json_tree.h"

namespace tetrad {
namespace {

constexpr std::string_view kSpaceAround = " \t\n\v\f\r";

bool equals_in_any_case(std::string_view text, std::string_view lower) {
  return std::ranges::equal(text, lower, [](char a, char b) {
    return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + ('a' - 'A')) : a) == b;
  });
}

/// The digits at the front of `text`, taken off it.
std::string_view take_digits(std::string_view& text) {
  const size_t end = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::string_view digits = text.substr(0, end);
  text.remove_prefix(end);
  return digits;
}

bool take_char(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

/// A decimal number, in its parts.
struct Decimal {
  bool negative = false;
  std::string_view whole;     // digits, perhaps none
  std::string_view fraction;  // the same
  bool has_point = false;
  std::string_view exponent;  // with its sign; "": none
};

std::optional<Decimal> parse_decimal(std::string_view text) {
  Decimal decimal;
  decimal.negative = text.starts_with('-');
  take_char(text, "+-");
  decimal.whole = take_digits(text);
  decimal.has_point = take_char(text, ".");
  if (decimal.has_point) decimal.fraction = take_digits(text);
  if (decimal.whole.empty() && decimal.fraction.empty()) return std::nullopt;
  const std::string_view rest = text;
  if (take_char(text, "eE")) {
    take_char(text, "+-");
    if (take_digits(text).empty()) return std::nullopt;
    decimal.exponent = rest.substr(1, rest.size() - text.size() - 1);
  }
  if (!text.empty()) return std::nullopt;
  return decimal;
}

/// Digits without zeros in front, but at least one.
std::string_view significant(std::string_view digits) {
  const size_t first = digits.find_first_not_of('0');
  return first == std::string_view::npos ? "0" : digits.substr(first);
}

/// The number as JSON; none if no double can hold it.
std::optional<std::string> decimal_json(const Decimal& decimal) {
  const std::string_view whole = significant(decimal.whole);
  std::string_view fraction = decimal.fraction;
  if (fraction.find_first_not_of('0') == std::string_view::npos) fraction = {};
  std::string json = fmt::format("{}{}{}", whole, fraction.empty() ? "" : ".", fraction);
  if (!decimal.exponent.empty()) json += fmt::format("e{}", decimal.exponent);
  const double number = std::strtod(json.c_str(), nullptr);
  if (!std::isfinite(number)) return std::nullopt;
  constexpr double kExactBelow = 9007199254740992.0;  // 2^53
  if (!decimal.exponent.empty() && number < kExactBelow && number == std::floor(number) &&
      number != 0) {
    json = fmt::format("{:.0f}", number);
  }
  if (decimal.negative && json != "0") json.insert(0, 1, '-');
  return json;
}

std::optional<std::string> integer_json(std::string_view text) {
  const auto decimal = parse_decimal(text);
  if (!decimal || decimal->has_point || !decimal->exponent.empty()) return std::nullopt;
  return decimal_json(*decimal);
}

std::optional<std::string> number_json(std::string_view text) {
  const auto decimal = parse_decimal(text);
  if (!decimal) return std::nullopt;
  return decimal_json(*decimal);
}

std::optional<std::string> boolean_json(std::string_view text) {
  if (text == "1" || equals_in_any_case(text, "true")) return "true";
  if (text == "0" || equals_in_any_case(text, "false")) return "false";
  return std::nullopt;
}

std::string string_json(std::string_view text) {
  std::string json = "\"";
  append_json_escaped(json, text);
  return json += '"';
}

class ArgumentCoercion {
 public:
  explicit ArgumentCoercion(ArgumentSchemas& schemas) : schemas_(schemas) {}

  std::string of_text(std::string_view text, const ArgumentSchema& schema, size_t depth) {
    const ArgumentTypes types = schema.types;
    if (types.only_string()) return string_json(text);
    if (auto scalar = scalar_of_text(trimmed(text, kSpaceAround), types)) return *std::move(scalar);
    const std::optional<JsonTree> tree = parse_json_tree(text, kMaxArgumentDepth - depth);
    const bool fits =
        tree && ((tree->kind == JsonTree::Kind::object && types.contains(ArgumentType::object)) ||
                 (tree->kind == JsonTree::Kind::array && types.contains(ArgumentType::array)));
    if (!tree || (!fits && types.contains(ArgumentType::string))) return string_json(text);
    // A string in quotes that fits nothing: looking into it again would not end.
    if (tree->kind == JsonTree::Kind::string) return string_json(tree->text);
    if (tree->text == "null") return string_json(text);  // null only where the schema allows it
    std::string json;
    append_tree(*tree, &schema, depth, json);
    return json;
  }

 private:
  static std::optional<std::string> scalar_of_text(std::string_view text, ArgumentTypes types) {
    std::optional<std::string> json;
    if (types.contains(ArgumentType::null) && equals_in_any_case(text, "null")) json = "null";
    if (!json && types.contains(ArgumentType::integer)) json = integer_json(text);
    if (!json && types.contains(ArgumentType::number)) json = number_json(text);
    if (!json && types.contains(ArgumentType::boolean)) json = boolean_json(text);
    return json;
  }

  /// `schema`: null if there is none.
  void append_tree(const JsonTree& tree, const ArgumentSchema* schema, size_t depth,
                   std::string& json) {
    switch (tree.kind) {
      case JsonTree::Kind::literal:
        json += tree.text;
        return;
      case JsonTree::Kind::number:
        json += number_of_tree(tree.text, schema);
        return;
      case JsonTree::Kind::string:
        json += schema == nullptr || schema->types.contains(ArgumentType::string)
                    ? string_json(tree.text)
                    : of_text(tree.text, *schema, depth);
        return;
      case JsonTree::Kind::array:
      case JsonTree::Kind::object:
        append_children(tree, schema, depth + 1, json);
    }
  }

  static std::string number_of_tree(const std::string& text, const ArgumentSchema* schema) {
    if (schema == nullptr || !(schema->types.contains(ArgumentType::integer) ||
                               schema->types.contains(ArgumentType::number)))
      return text;
    return number_json(text).value_or(text);
  }

  void append_children(const JsonTree& tree, const ArgumentSchema* schema, size_t depth,
                       std::string& json) {
    const bool is_object = tree.kind == JsonTree::Kind::object;
    json += is_object ? '{' : '[';
    for (size_t i = 0; i < tree.children.size(); ++i) {
      const JsonTree& child = tree.children[i];
      if (i > 0) json += ", ";
      if (is_object) json += string_json(child.key) + ": ";
      const ArgumentSchema* child_schema = nullptr;
      if (schema != nullptr) {
        child_schema =
            is_object ? schemas_.property(*schema, child.key) : schemas_.item(*schema, i);
      }
      append_tree(child, child_schema, depth, json);
    }
    json += is_object ? '}' : ']';
  }

  ArgumentSchemas& schemas_;
};

}  // namespace

void append_json_escaped(std::string& json, std::string_view text) {
  for (const char c : text) {
    switch (c) {
      case '"':
        json += "\\\"";
        break;
      case '\\':
        json += "\\\\";
        break;
      case '\n':
        json += "\\n";
        break;
      case '\t':
        json += "\\t";
        break;
      case '\r':
        json += "\\r";
        break;
      case '\b':
        json += "\\b";
        break;
      case '\f':
        json += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          fmt::format_to(std::back_inserter(json), "\\u{:04x}", static_cast<unsigned>(c));
        } else {
          json += c;
        }
    }
  }
}

std::string argument_json(std::string_view text, const ArgumentSchema& schema,
                          ArgumentSchemas& schemas) {
  return ArgumentCoercion(schemas).of_text(text, schema, 0);
}

}  // namespace tetrad
