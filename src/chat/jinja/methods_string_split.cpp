#include <array>

#include "chat/jinja/arguments.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/iteration.h"
#include "chat/jinja/methods.h"
#include "chat/jinja/string_tools.h"

namespace tetrad::jinja {
namespace {

Result<Value> list_of(const std::vector<std::string_view>& parts, Budget& budget) {
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts)
    items.push_back(Value::string(std::string(part)));
  return Value::list(std::move(items), budget);
}

template <Side from>
Result<Value> split_method(Interpreter& interpreter, const Value& self,
                           const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("split", arguments,
                                      {{"sep", Value::none()}, {"maxsplit", Value::integer(-1)}}));
  TETRAD_ASSIGN(const int64_t limit, integer_argument("maxsplit", args[1]));
  const size_t max_splits = limit < 0 ? SIZE_MAX : static_cast<size_t>(limit);
  Budget& budget = interpreter.budget();
  TETRAD_TRY(budget.spend_bytes(self.bytes().size()));
  if (args[0].is_none()) return list_of(split_space(self.bytes(), max_splits, from), budget);
  TETRAD_ASSIGN(const std::string_view separator, string_argument("the separator", args[0]));
  if (separator.empty()) return fail(ErrorCode::invalid_argument, "empty separator");
  return list_of(split_at(self.bytes(), separator, max_splits, from), budget);
}

Result<Value> split_lines_method(Interpreter& interpreter, const Value& self,
                                 const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args,
                bind("splitlines", arguments, {{"keepends", Value::boolean(false)}}));
  TETRAD_TRY(interpreter.budget().spend_bytes(self.bytes().size()));
  return list_of(split_lines(self.bytes(), args[0].truthy()), interpreter.budget());
}

template <Side from>
Result<Value> partition_method(Interpreter& interpreter, const Value& self,
                               const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("partition", arguments, {{"sep", {}}}));
  TETRAD_ASSIGN(const std::string_view separator, string_argument("the separator", args[0]));
  if (separator.empty()) return fail(ErrorCode::invalid_argument, "empty separator");
  const std::string& text = self.bytes();
  TETRAD_TRY(interpreter.budget().spend_bytes(text.size()));
  const size_t found = from == Side::right ? text.rfind(separator) : text.find(separator);
  std::vector<Value> parts;
  if (found != std::string::npos) {
    parts = {Value::string(text.substr(0, found)), args[0],
             Value::string(text.substr(found + separator.size()))};
  } else if (from == Side::left) {
    parts = {self, Value::string(""), Value::string("")};
  } else {
    parts = {Value::string(""), Value::string(""), self};
  }
  return Value::tuple(std::move(parts), interpreter.budget());
}

Result<Value> join_method(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("join", arguments, {{"iterable", {}}}));
  Budget& budget = interpreter.budget();
  TETRAD_ASSIGN(const std::vector<Value> items, collect(args[0], budget));
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    TETRAD_ASSIGN(const std::string_view item, string_argument("each joined item", items[i]));
    const std::string_view separator = i == 0 ? std::string_view() : self.bytes();
    TETRAD_TRY(budget.spend_append(text.size(), separator.size() + item.size()));
    text.append(separator).append(item);
  }
  return Value::string(std::move(text));
}

constexpr std::array<NamedFunction, 6> kSplitMethods = {{
    {"split", split_method<Side::left>},
    {"rsplit", split_method<Side::right>},
    {"splitlines", split_lines_method},
    {"partition", partition_method<Side::left>},
    {"rpartition", partition_method<Side::right>},
    {"join", join_method},
}};

}  // namespace

std::span<const NamedFunction> string_split_methods() {
  return kSplitMethods;
}

}  // namespace tetrad::jinja
