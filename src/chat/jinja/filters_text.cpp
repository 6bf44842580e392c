#include <array>

#include "chat/jinja/arguments.h"
#include "chat/jinja/filters.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/iteration.h"
#include "chat/jinja/key_path.h"
#include "chat/jinja/methods.h"
#include "chat/jinja/printf_format.h"
#include "chat/jinja/python_text.h"
#include "chat/jinja/string_tools.h"
#include "chat/jinja/unicode.h"

namespace tetrad::jinja {
namespace {

/// A filter that is a string method of str(value).
Result<Value> method_of_text(Interpreter& interpreter, const Value& subject,
                             const Arguments& arguments, std::string_view method) {
  TETRAD_ASSIGN(const Value text, to_string_value(subject, interpreter.budget()));
  return find_function(string_case_methods(), method)(interpreter, text, arguments);
}

Result<Value> upper(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  return method_of_text(interpreter, subject, arguments, "upper");
}

Result<Value> lower(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  return method_of_text(interpreter, subject, arguments, "lower");
}

Result<Value> capitalize(Interpreter& interpreter, const Value& subject,
                         const Arguments& arguments) {
  return method_of_text(interpreter, subject, arguments, "capitalize");
}

Result<Value> trim(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  return method_of_text(interpreter, subject, arguments, "strip");
}

Result<Value> center(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("center", arguments, {{"width", Value::integer(80)}}));
  return method_of_text(interpreter, subject, Arguments{{args[0]}, {}}, "center");
}

Result<Value> string(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_TRY(bind("string", arguments, {}));
  return to_string_value(subject, interpreter.budget());
}

bool starts_title_word(char32_t c) {
  return c == U'-' || c == U'(' || c == U'{' || c == U'[' || c == U'<' || is_space(c);
}

/// Words begin behind blanks, hyphens and opening brackets; unlike str.title, an apostrophe does
/// not begin one.
Result<Value> title(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_TRY(bind("title", arguments, {}));
  TETRAD_ASSIGN(const std::string text, to_text(subject, interpreter.budget()));
  std::string out;
  size_t start = 0;
  const auto flush = [&](size_t end) {
    if (start == end) return;
    size_t first_end = start;
    decode_code_point(text, first_end);
    out += to_upper(std::string_view(text).substr(start, first_end - start));
    out += to_lower(std::string_view(text).substr(first_end, end - first_end));
  };
  bool in_separator = false;
  for (size_t position = 0; position < text.size();) {
    const size_t character = position;
    const bool separates = starts_title_word(decode_code_point(text, position));
    if (separates == in_separator && character != 0) continue;
    flush(character);
    start = character;
    in_separator = separates;
  }
  flush(text.size());
  return Value::string(std::move(out), interpreter.budget());
}

Result<Value> replace(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args,
                bind("replace", arguments, {{"old", {}}, {"new", {}}, {"count", Value::none()}}));
  Budget& budget = interpreter.budget();
  int64_t count = -1;
  if (!args[2].is_none()) {
    TETRAD_ASSIGN(count, integer_argument("the count", args[2]));
  }
  TETRAD_ASSIGN(const Value text, to_string_value(subject, budget));
  TETRAD_ASSIGN(const Value old_text, to_string_value(args[0], budget));
  TETRAD_ASSIGN(const Value new_text, to_string_value(args[1], budget));
  TETRAD_ASSIGN(std::string out,
                replace_all(text.bytes(), old_text.bytes(), new_text.bytes(),
                            count < 0 ? SIZE_MAX : static_cast<size_t>(count), budget));
  return Value::string(std::move(out));
}

Result<Value> join(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args,
                bind("join", arguments, {{"d", Value::string("")}, {"attribute", Value::none()}}));
  Budget& budget = interpreter.budget();
  TETRAD_ASSIGN(const Value separator, to_string_value(args[0], budget));
  TETRAD_ASSIGN(const KeyPath path, KeyPath::parse(args[1]));
  TETRAD_ASSIGN(const std::vector<Value> items, collect(subject, budget));
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) TETRAD_TRY(append_text(out, separator, budget));
    TETRAD_ASSIGN(const Value item, path.get(items[i], budget));
    TETRAD_TRY(append_text(out, item, budget));
  }
  return Value::string(std::move(out));
}

Result<Value> indent(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("indent", arguments,
                                      {{"width", Value::integer(4)},
                                       {"first", Value::boolean(false)},
                                       {"blank", Value::boolean(false)}}));
  Budget& budget = interpreter.budget();
  TETRAD_ASSIGN(const std::string_view text, string_argument("the text to indent", subject));
  std::string indention;
  if (args[0].is_string()) {
    indention = args[0].bytes();
  } else {
    TETRAD_ASSIGN(const int64_t width, integer_argument("the width", args[0]));
    TETRAD_ASSIGN(indention, repeated(" ", width, budget));
  }
  TETRAD_TRY(budget.spend_bytes(text.size()));
  // With a newline behind it, the text keeps an empty last line.
  const std::string terminated = std::string(text) + "\n";
  std::string out;
  bool is_first = true;
  for (const std::string_view line : split_lines(terminated)) {
    const bool indents = is_first ? args[1].truthy() : args[2].truthy() || !line.empty();
    TETRAD_TRY(budget.spend_append(out.size(), line.size() + 1 + (indents ? indention.size() : 0)));
    if (!is_first) out += '\n';
    if (indents) out += indention;
    out += line;
    is_first = false;
  }
  return Value::string(std::move(out), subject.as_string().is_markup);
}

Result<Value> truncate(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("truncate", arguments,
                                      {{"length", Value::integer(255)},
                                       {"killwords", Value::boolean(false)},
                                       {"end", Value::string("...")},
                                       {"leeway", Value::none()}}));
  TETRAD_ASSIGN(const int64_t length, integer_argument("the length", args[0]));
  TETRAD_ASSIGN(const std::string_view end, string_argument("the end", args[2]));
  int64_t leeway = 5;
  if (!args[3].is_none()) {
    TETRAD_ASSIGN(leeway, integer_argument("the leeway", args[3]));
  }
  const int64_t kept = length - args[2].as_string().length;
  if (kept < 0)
    return fail(ErrorCode::invalid_argument, "truncate: the end is longer than {}", length);
  if (leeway < 0) return fail(ErrorCode::invalid_argument, "truncate: the leeway is negative");
  if (subject.is_undefined()) return subject;
  TETRAD_ASSIGN(const std::string_view text, string_argument("the text to truncate", subject));
  if (subject.as_string().length - length <= leeway) return subject;
  TETRAD_TRY(interpreter.budget().spend_bytes(text.size()));
  std::string_view front = text.substr(0, byte_offset(text, kept));
  if (!args[1].truthy()) front = front.substr(0, front.rfind(' '));
  return Value::string(std::string(front) + std::string(end), interpreter.budget());
}

Result<Value> word_count(Interpreter& interpreter, const Value& subject,
                         const Arguments& arguments) {
  TETRAD_TRY(bind("wordcount", arguments, {}));
  TETRAD_ASSIGN(const std::string text, to_text(subject, interpreter.budget()));
  int64_t count = 0;
  bool in_word = false;
  for (size_t position = 0; position < text.size();) {
    const char32_t c = decode_code_point(text, position);
    const bool is_word = c == U'_' || is_alnum(c);
    if (is_word && !in_word) ++count;
    in_word = is_word;
  }
  return Value::integer(count);
}

Result<Value> format(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Budget& budget = interpreter.budget();
  if (!arguments.positional.empty() && !arguments.keyword.empty()) {
    return fail(ErrorCode::invalid_argument,
                "format: positional and keyword arguments at the same time");
  }
  TETRAD_ASSIGN(const Value text, to_string_value(subject, budget));
  Dict named;
  for (const auto& [name, value] : arguments.keyword) {
    TETRAD_TRY(named.insert(Value::string(name), value, budget));
  }
  TETRAD_ASSIGN(const Value values, arguments.keyword.empty()
                                        ? Value::tuple(arguments.positional, budget)
                                        : Value::dict(std::move(named), budget));
  return format_printf(text.as_string(), values, budget);
}

constexpr std::array<NamedFunction, 13> kTextFilters = {{
    {"upper", upper},
    {"lower", lower},
    {"capitalize", capitalize},
    {"title", title},
    {"trim", trim},
    {"center", center},
    {"string", string},
    {"replace", replace},
    {"join", join},
    {"indent", indent},
    {"truncate", truncate},
    {"wordcount", word_count},
    {"format", format},
}};

}  // namespace

std::span<const NamedFunction> text_filters() {
  return kTextFilters;
}

}  // namespace tetrad::jinja
