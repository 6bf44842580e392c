#include <algorithm>

#include "chat/jinja/arguments.h"
#include "chat/jinja/attributes.h"
#include "chat/jinja/format_spec.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/methods.h"
#include "chat/jinja/number_text.h"
#include "chat/jinja/python_text.h"

namespace tetrad::jinja {
namespace {

/// One rendering of "text {field!conversion:spec} text".
class StrFormat {
 public:
  StrFormat(const Arguments& arguments, Budget& budget)
      : arguments_(&arguments), budget_(&budget) {}

  /// `nested`: inside a specification, where no further nesting is allowed.
  Result<std::string> run(std::string_view format, bool nested = false) {
    std::string out;
    size_t position = 0;
    while (position < format.size()) {
      const char c = format[position];
      const bool is_doubled = position + 1 < format.size() && format[position + 1] == c;
      if ((c == '{' || c == '}') && is_doubled && !nested) {
        out += c;
        position += 2;
      } else if (c == '{') {
        TETRAD_ASSIGN(const size_t end, field_end(format, position));
        if (nested && format.substr(position + 1, end - position - 1).find('{') != format.npos) {
          return fail(ErrorCode::invalid_argument, "Max string recursion exceeded");
        }
        TETRAD_ASSIGN(const std::string text,
                      field(format.substr(position + 1, end - position - 1)));
        TETRAD_TRY(budget_->spend_append(out.size(), text.size()));
        out += text;
        position = end + 1;
      } else if (c == '}') {
        return fail(ErrorCode::invalid_argument, "Single '}}' encountered in format string");
      } else {
        const size_t end = std::min(format.find_first_of("{}", position), format.size());
        TETRAD_TRY(budget_->spend_append(out.size(), end - position));
        out += format.substr(position, end - position);
        position = end;
      }
    }
    return out;
  }

 private:
  /// The brace that closes the field that opens at `start`.
  static Result<size_t> field_end(std::string_view format, size_t start) {
    int open = 0;
    for (size_t i = start; i < format.size(); ++i) {
      if (format[i] == '{') ++open;
      if (format[i] == '}' && --open == 0) return i;
    }
    return fail(ErrorCode::invalid_argument, "expected '}}' before end of string");
  }

  Result<std::string> field(std::string_view text) {
    // A "[…]" of the name may contain ! and :
    size_t name_end = 0;
    bool in_brackets = false;
    for (; name_end < text.size(); ++name_end) {
      const char c = text[name_end];
      if (c == '[') in_brackets = true;
      if (c == ']') in_brackets = false;
      if (!in_brackets && (c == '!' || c == ':')) break;
    }
    TETRAD_ASSIGN(Value value, field_value(text.substr(0, name_end)));
    text.remove_prefix(name_end);
    if (text.starts_with('!')) {
      if (text.size() < 2 || (text.size() > 2 && text[2] != ':')) {
        return fail(ErrorCode::invalid_argument, "bad conversion in a format field");
      }
      TETRAD_ASSIGN(value, convert(value, text[1]));
      text.remove_prefix(2);
    }
    if (text.starts_with(':')) text.remove_prefix(1);
    TETRAD_ASSIGN(const std::string spec_text, run(text, true));
    if (spec_text.empty()) return to_text(value, *budget_);
    TETRAD_ASSIGN(const FormatSpec spec, parse_format_spec(spec_text));
    return format_value(value, spec, *budget_);
  }

  Result<Value> convert(const Value& value, char conversion) {
    switch (conversion) {
      case 's':
        return to_string_value(value, *budget_);
      case 'r': {
        TETRAD_ASSIGN(std::string text, repr(value, *budget_));
        return Value::string(std::move(text));
      }
      default:
        return fail(ErrorCode::invalid_argument, "Unknown conversion specifier '{}'", conversion);
    }
  }

  Result<Value> positional(size_t index) {
    if (index >= arguments_->positional.size()) {
      return fail(ErrorCode::invalid_argument,
                  "Replacement index {} out of range for positional args tuple", index);
    }
    return arguments_->positional[index];
  }

  Result<Value> root_value(std::string_view name) {
    const bool is_number =
        std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!is_number) {
      const Value* found = arguments_->find_keyword(name);
      if (found == nullptr)
        return fail(ErrorCode::invalid_argument, "no argument '{}' to format", name);
      return *found;
    }
    const bool is_automatic = name.empty();
    if (automatic_.value_or(is_automatic) != is_automatic) {
      return fail(ErrorCode::invalid_argument,
                  "cannot mix automatic and manual numbering of format fields");
    }
    automatic_ = is_automatic;
    if (is_automatic) return positional(next_++);
    const auto index = parse_int(name, 10);
    return positional(index && *index < INT32_MAX ? static_cast<size_t>(*index) : SIZE_MAX);
  }

  /// name, then any number of ".attribute" and "[index]".
  Result<Value> field_value(std::string_view path) {
    const size_t root_end = std::min(path.find_first_of(".["), path.size());
    TETRAD_ASSIGN(Value value, root_value(path.substr(0, root_end)));
    path.remove_prefix(root_end);
    while (!path.empty()) {
      TETRAD_TRY(budget_->spend());
      const bool is_index = path[0] == '[';
      const size_t end =
          is_index ? path.find(']') : std::min(path.find_first_of(".[", 1), path.size());
      if (end == path.npos || end == 1 || (!is_index && path[0] != '.')) {
        return fail(ErrorCode::invalid_argument, "bad field name in a format string");
      }
      const std::string_view part = path.substr(1, end - 1);
      path.remove_prefix(is_index ? end + 1 : end);
      if (is_index) {
        const auto index = parse_int(part, 10);
        const Value key = index ? Value::integer(*index) : Value::string(std::string(part));
        TETRAD_ASSIGN(value, get_item(value, key, *budget_));
      } else {
        TETRAD_ASSIGN(value, get_attribute(value, part));
      }
    }
    return value;
  }

  const Arguments* arguments_;
  Budget* budget_;
  std::optional<bool> automatic_;
  size_t next_ = 0;
};

}  // namespace

Result<Value> str_format(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  TETRAD_ASSIGN(std::string text, StrFormat(arguments, interpreter.budget()).run(self.bytes()));
  return Value::string(std::move(text));
}

Result<Value> str_format_map(Interpreter& interpreter, const Value& self,
                             const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("format_map", arguments, {{"mapping", {}}}));
  if (!args[0].is_dict()) {
    return fail(ErrorCode::invalid_argument, "format_map() takes a mapping, not {}",
                args[0].type_name());
  }
  Arguments named;
  for (const auto& [key, value] : args[0].as_dict().entries()) {
    if (key.is_string()) named.keyword.emplace_back(key.bytes(), value);
  }
  return str_format(interpreter, self, named);
}

}  // namespace tetrad::jinja
