#include <array>

#include "chat/jinja/arguments.h"
#include "chat/jinja/attributes.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/methods.h"
#include "chat/jinja/string_tools.h"
#include "chat/jinja/unicode.h"

namespace tetrad::jinja {
namespace {

/// The part of a string between optional bounds, as str.find and its relatives look at.
struct Region {
  std::string_view text;
  int64_t start = 0;  // code points in front of it
  /// The bounds are beyond the end or the wrong way round: not even an empty string is found here.
  bool is_nowhere = false;
};

Result<Region> region(const Value& self, const Value& start, const Value& stop, Budget& budget) {
  TETRAD_TRY(budget.spend_bytes(self.bytes().size()));
  const int64_t length = self.as_string().length;
  SliceBounds bounds;
  bounds.start = start;
  bounds.stop = stop;
  TETRAD_ASSIGN(const SliceIndices indices, resolve_slice(bounds, length));
  Region result;
  result.start = indices.start;
  if (start.is_integral() && start.as_integer() > length) result.is_nowhere = true;
  bounds.start.reset();
  TETRAD_ASSIGN(const SliceIndices up_to_stop, resolve_slice(bounds, length));
  if (up_to_stop.count < indices.start) result.is_nowhere = true;
  std::string_view text = self.bytes();
  text.remove_prefix(byte_offset(text, indices.start));
  result.text = text.substr(0, byte_offset(text, indices.count));
  return result;
}

/// The code point index of the first or last occurrence, -1 if there is none.
Result<int64_t> find_in(Interpreter& interpreter, const Value& self, const Arguments& arguments,
                        Side from) {
  TETRAD_ASSIGN(
      const auto args,
      bind("find", arguments, {{"sub", {}}, {"start", Value::none()}, {"end", Value::none()}}));
  TETRAD_ASSIGN(const std::string_view part, string_argument("the substring", args[0]));
  TETRAD_ASSIGN(const Region where, region(self, args[1], args[2], interpreter.budget()));
  if (where.is_nowhere) return -1;
  const size_t found = from == Side::right ? where.text.rfind(part) : where.text.find(part);
  if (found == std::string_view::npos) return -1;
  return where.start + count_code_points(where.text.substr(0, found));
}

template <Side from>
Result<Value> find_method(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  TETRAD_ASSIGN(const int64_t found, find_in(interpreter, self, arguments, from));
  return Value::integer(found);
}

template <Side from>
Result<Value> index_method(Interpreter& interpreter, const Value& self,
                           const Arguments& arguments) {
  TETRAD_ASSIGN(const int64_t found, find_in(interpreter, self, arguments, from));
  if (found < 0) return fail(ErrorCode::invalid_argument, "substring not found");
  return Value::integer(found);
}

Result<Value> count_method(Interpreter& interpreter, const Value& self,
                           const Arguments& arguments) {
  TETRAD_ASSIGN(
      const auto args,
      bind("count", arguments, {{"sub", {}}, {"start", Value::none()}, {"end", Value::none()}}));
  TETRAD_ASSIGN(const std::string_view part, string_argument("the substring", args[0]));
  TETRAD_ASSIGN(const Region where, region(self, args[1], args[2], interpreter.budget()));
  if (where.is_nowhere) return Value::integer(0);
  return Value::integer(static_cast<Int>(count_occurrences(where.text, part, SIZE_MAX)));
}

template <Side side>
Result<bool> has_affix(const Region& where, const Value& affix) {
  TETRAD_ASSIGN(const std::string_view text, string_argument("the prefix or suffix", affix));
  if (where.is_nowhere) return false;
  return side == Side::left ? where.text.starts_with(text) : where.text.ends_with(text);
}

/// startswith and endswith: one string, or any of a tuple of them.
template <Side side>
Result<Value> affix_method(Interpreter& interpreter, const Value& self,
                           const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args,
                bind("startswith", arguments,
                     {{"prefix", {}}, {"start", Value::none()}, {"end", Value::none()}}));
  TETRAD_ASSIGN(const Region where, region(self, args[1], args[2], interpreter.budget()));
  if (args[0].kind() != Kind::tuple) {
    TETRAD_ASSIGN(const bool has, has_affix<side>(where, args[0]));
    return Value::boolean(has);
  }
  for (const Value& candidate : args[0].items()) {
    TETRAD_TRY(interpreter.budget().spend());
    TETRAD_ASSIGN(const bool has, has_affix<side>(where, candidate));
    if (has) return Value::boolean(true);
  }
  return Value::boolean(false);
}

Result<Value> replace_method(Interpreter& interpreter, const Value& self,
                             const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("replace", arguments,
                                      {{"old", {}}, {"new", {}}, {"count", Value::integer(-1)}}));
  TETRAD_ASSIGN(const std::string_view old_text, string_argument("replace() argument 1", args[0]));
  TETRAD_ASSIGN(const std::string_view new_text, string_argument("replace() argument 2", args[1]));
  TETRAD_ASSIGN(const int64_t count, integer_argument("the count", args[2]));
  TETRAD_ASSIGN(std::string text, replace_all(self.bytes(), old_text, new_text,
                                              count < 0 ? SIZE_MAX : static_cast<size_t>(count),
                                              interpreter.budget()));
  return Value::string(std::move(text));
}

constexpr std::array<NamedFunction, 8> kSearchMethods = {{
    {"find", find_method<Side::left>},
    {"rfind", find_method<Side::right>},
    {"index", index_method<Side::left>},
    {"rindex", index_method<Side::right>},
    {"count", count_method},
    {"startswith", affix_method<Side::left>},
    {"endswith", affix_method<Side::right>},
    {"replace", replace_method},
}};

}  // namespace

std::span<const NamedFunction> string_search_methods() {
  return kSearchMethods;
}

}  // namespace tetrad::jinja
