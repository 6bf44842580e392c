#include <algorithm>
#include <array>
#include <cmath>

#include "chat/jinja/arguments.h"
#include "chat/jinja/attributes.h"
#include "chat/jinja/dict_view.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/methods.h"
#include "chat/jinja/operators.h"

namespace tetrad::jinja {
namespace {

Result<Value> sequence_index(Interpreter& interpreter, const Value& self,
                             const Arguments& arguments) {
  TETRAD_ASSIGN(
      const auto args,
      bind("index", arguments, {{"value", {}}, {"start", Value::none()}, {"stop", Value::none()}}));
  SliceBounds bounds;
  bounds.start = args[1];
  bounds.stop = args[2];
  const auto length = static_cast<int64_t>(self.items().size());
  TETRAD_ASSIGN(const SliceIndices where, resolve_slice(bounds, length));
  for (int64_t i = where.start; i < where.start + where.count; ++i) {
    TETRAD_ASSIGN(const bool found,
                  equals(self.items()[static_cast<size_t>(i)], args[0], interpreter.budget()));
    if (found) return Value::integer(i);
  }
  return fail(ErrorCode::invalid_argument, "the value is not in the {}", self.type_name());
}

Result<Value> sequence_count(Interpreter& interpreter, const Value& self,
                             const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("count", arguments, {{"value", {}}}));
  int64_t count = 0;
  for (const Value& item : self.items()) {
    TETRAD_ASSIGN(const bool found, equals(item, args[0], interpreter.budget()));
    if (found) ++count;
  }
  return Value::integer(count);
}

/// copy(): values do not change, so that the copy is the value.
Result<Value> copy(Interpreter&, const Value& self, const Arguments& arguments) {
  TETRAD_TRY(bind("copy", arguments, {}));
  return self;
}

Result<Value> dict_get(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("get", arguments, {{"key", {}}, {"default", Value::none()}}));
  TETRAD_ASSIGN(const Value* found, self.as_dict().find(args[0], interpreter.budget()));
  return found != nullptr ? *found : args[1];
}

template <DictView::Part part>
Result<Value> dict_view(Interpreter&, const Value& self, const Arguments& arguments) {
  TETRAD_TRY(bind("items", arguments, {}));
  return Value::object(std::make_shared<DictView>(self, part));
}

Result<Value> float_is_integer(Interpreter&, const Value& self, const Arguments& arguments) {
  TETRAD_TRY(bind("is_integer", arguments, {}));
  return Value::boolean(std::trunc(self.as_floating()) == self.as_floating());
}

constexpr std::array<NamedFunction, 3> kListMethods = {{
    {"index", sequence_index},
    {"count", sequence_count},
    {"copy", copy},
}};
constexpr std::array<NamedFunction, 2> kTupleMethods = {{
    {"index", sequence_index},
    {"count", sequence_count},
}};
constexpr std::array<NamedFunction, 5> kDictMethods = {{
    {"get", dict_get},
    {"items", dict_view<DictView::Part::items>},
    {"keys", dict_view<DictView::Part::keys>},
    {"values", dict_view<DictView::Part::values>},
    {"copy", copy},
}};
constexpr std::array<NamedFunction, 1> kFloatMethods = {{{"is_integer", float_is_integer}}};

constexpr std::array<std::string_view, 8> kListMutators = {"append", "clear",  "extend",  "insert",
                                                           "pop",    "remove", "reverse", "sort"};
constexpr std::array<std::string_view, 5> kDictMutators = {"clear", "pop", "popitem", "setdefault",
                                                           "update"};

}  // namespace

std::span<const NamedFunction> list_methods() {
  return kListMethods;
}

std::span<const NamedFunction> tuple_methods() {
  return kTupleMethods;
}

std::span<const NamedFunction> dict_methods() {
  return kDictMethods;
}

std::span<const NamedFunction> float_methods() {
  return kFloatMethods;
}

bool is_list_mutator(std::string_view name) {
  return std::find(kListMutators.begin(), kListMutators.end(), name) != kListMutators.end();
}

bool is_dict_mutator(std::string_view name) {
  return std::find(kDictMutators.begin(), kDictMutators.end(), name) != kDictMutators.end();
}

}  // namespace tetrad::jinja
