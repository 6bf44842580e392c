#include <algorithm>
#include <array>
#include <vector>

#include "chat/jinja/arguments.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/methods.h"
#include "chat/jinja/string_tools.h"
#include "chat/jinja/unicode.h"

namespace tetrad::jinja {
namespace {

Result<Value> string_result(std::string text, Interpreter& interpreter) {
  return Value::string(std::move(text), interpreter.budget());
}

// ---- case ----

/// A method without arguments that maps the text.
template <std::string (*Map)(std::string_view)>
Result<Value> mapped(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  TETRAD_TRY(bind("method", arguments, {}));
  TETRAD_TRY(interpreter.budget().spend_bytes(self.bytes().size()));
  return string_result(Map(self.bytes()), interpreter);
}

// ---- is…() ----

/// True if the text is not empty and every character passes.
template <bool (*Passes)(char32_t)>
Result<Value> all_characters(Interpreter& interpreter, const Value& self,
                             const Arguments& arguments) {
  TETRAD_TRY(bind("method", arguments, {}));
  const std::string& text = self.bytes();
  TETRAD_TRY(interpreter.budget().spend_bytes(text.size()));
  for (size_t position = 0; position < text.size();) {
    if (!Passes(decode_code_point(text, position))) return Value::boolean(false);
  }
  return Value::boolean(!text.empty());
}

/// isupper, islower: at least one character of that case and none of another.
template <bool (*Has)(char32_t)>
Result<Value> one_case(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  TETRAD_TRY(bind("method", arguments, {}));
  const std::string& text = self.bytes();
  TETRAD_TRY(interpreter.budget().spend_bytes(text.size()));
  bool any = false;
  for (size_t position = 0; position < text.size();) {
    const char32_t c = decode_code_point(text, position);
    if (Has(c)) {
      any = true;
    } else if (is_cased(c)) {
      return Value::boolean(false);
    }
  }
  return Value::boolean(any);
}

Result<Value> is_title_case(Interpreter& interpreter, const Value& self,
                            const Arguments& arguments) {
  TETRAD_TRY(bind("istitle", arguments, {}));
  const std::string& text = self.bytes();
  TETRAD_TRY(interpreter.budget().spend_bytes(text.size()));
  bool any = false;
  bool inside_word = false;
  for (size_t position = 0; position < text.size();) {
    const char32_t c = decode_code_point(text, position);
    const bool is_capital = is_upper(c) || is_title(c);
    if ((is_capital && inside_word) || (is_lower(c) && !inside_word)) return Value::boolean(false);
    inside_word = is_cased(c);
    any = any || inside_word;
  }
  return Value::boolean(any);
}

Result<Value> is_ascii(Interpreter&, const Value& self, const Arguments& arguments) {
  TETRAD_TRY(bind("isascii", arguments, {}));
  return Value::boolean(self.as_string().is_ascii());
}

// ---- strip and pad ----

template <Side side>
Result<Value> strip_method(Interpreter& interpreter, const Value& self,
                           const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("strip", arguments, {{"chars", Value::none()}}));
  std::optional<std::string_view> set;
  if (!args[0].is_none()) {
    TETRAD_ASSIGN(set, string_argument("strip arg", args[0]));
  }
  return string_result(std::string(strip(self.bytes(), set, side)), interpreter);
}

enum class Alignment : uint8_t { left, right, centre };

template <Alignment alignment>
Result<Value> pad_method(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args,
                bind("center", arguments, {{"width", {}}, {"fillchar", Value::string(" ")}}));
  TETRAD_ASSIGN(const int64_t width, integer_argument("width", args[0]));
  TETRAD_ASSIGN(const std::string_view fill, string_argument("fillchar", args[1]));
  if (args[1].as_string().length != 1) {
    return fail(ErrorCode::invalid_argument, "the fill character must be exactly one character");
  }
  const int64_t length = self.as_string().length;
  if (width <= length) return self;
  const int64_t missing = width - length;
  int64_t left = alignment == Alignment::right ? missing : 0;
  // Python puts the odd blank of a centred text to the left if the width is odd.
  if (alignment == Alignment::centre) left = missing / 2 + (missing & width & 1);
  TETRAD_ASSIGN(const std::string before, repeated(fill, left, interpreter.budget()));
  TETRAD_ASSIGN(const std::string after, repeated(fill, missing - left, interpreter.budget()));
  return string_result(before + self.bytes() + after, interpreter);
}

Result<Value> zero_fill(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("zfill", arguments, {{"width", {}}}));
  TETRAD_ASSIGN(const int64_t width, integer_argument("width", args[0]));
  const std::string& text = self.bytes();
  TETRAD_ASSIGN(
      const std::string zeros,
      repeated("0", std::max<int64_t>(0, width - self.as_string().length), interpreter.budget()));
  const size_t sign = !text.empty() && (text[0] == '+' || text[0] == '-') ? 1 : 0;
  return string_result(text.substr(0, sign) + zeros + text.substr(sign), interpreter);
}

template <Side side>
Result<Value> remove_affix(Interpreter& interpreter, const Value& self,
                           const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("removeprefix", arguments, {{"affix", {}}}));
  TETRAD_ASSIGN(const std::string_view affix, string_argument("the argument", args[0]));
  std::string_view text = self.bytes();
  if (side == Side::left && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (side == Side::right && text.ends_with(affix)) text.remove_suffix(affix.size());
  return string_result(std::string(text), interpreter);
}

Result<Value> refused(Interpreter&, const Value&, const Arguments&) {
  return fail(ErrorCode::unsupported, "this string method is not available in chat templates");
}

constexpr std::array<NamedFunction, 33> kCaseMethods = {{
    {"upper", mapped<to_upper>},
    {"lower", mapped<to_lower>},
    {"title", mapped<to_title>},
    {"capitalize", mapped<to_capitalized>},
    {"swapcase", mapped<to_swapped_case>},
    {"isalpha", all_characters<is_alpha>},
    {"isalnum", all_characters<is_alnum>},
    {"isdigit", all_characters<is_digit>},
    {"isdecimal", all_characters<is_decimal>},
    {"isspace", all_characters<is_space>},
    {"isupper", one_case<is_upper>},
    {"islower", one_case<is_lower>},
    {"istitle", is_title_case},
    {"isascii", is_ascii},
    {"strip", strip_method<Side::both>},
    {"lstrip", strip_method<Side::left>},
    {"rstrip", strip_method<Side::right>},
    {"center", pad_method<Alignment::centre>},
    {"ljust", pad_method<Alignment::left>},
    {"rjust", pad_method<Alignment::right>},
    {"zfill", zero_fill},
    {"removeprefix", remove_affix<Side::left>},
    {"removesuffix", remove_affix<Side::right>},
    {"format", str_format},
    {"format_map", str_format_map},
    {"encode", refused},
    {"expandtabs", refused},
    {"casefold", refused},
    {"isidentifier", refused},
    {"isnumeric", refused},
    {"isprintable", refused},
    {"maketrans", refused},
    {"translate", refused},
}};

}  // namespace

std::span<const NamedFunction> string_case_methods() {
  return kCaseMethods;
}

std::span<const NamedFunction> string_methods() {
  static const std::vector<NamedFunction> all = [] {
    std::vector<NamedFunction> methods;
    for (const auto part :
         {string_case_methods(), string_search_methods(), string_split_methods()}) {
      methods.insert(methods.end(), part.begin(), part.end());
    }
    return methods;
  }();
  return all;
}

}  // namespace tetrad::jinja
