#include "chat/jinja/value.h"

#include <algorithm>

#include "chat/jinja/object.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/unicode.h"
#include "text/utf8.h"

namespace tetrad::jinja {
namespace {

/// From this many keys on, a hash index is cheaper than comparing one by one.
constexpr size_t kIndexedDictSize = 12;

Result<std::shared_ptr<const Sequence>> make_sequence(std::vector<Value> items, bool is_group,
                                                      Budget& budget) {
  TETRAD_TRY(budget.spend(static_cast<int64_t>(items.size()) + 1));
  int depth = 1;
  for (const Value& item : items)
    depth = std::max(depth, item.depth() + 1);
  if (depth > kMaxValueDepth) {
    return fail(ErrorCode::resource_exhausted, "lists are nested more than {} deep",
                kMaxValueDepth);
  }
  return std::make_shared<const Sequence>(Sequence{std::move(items), depth, is_group});
}

bool is_hashable(const Value& key) {
  if (key.kind() == Kind::list || key.is_dict()) return false;
  if (key.kind() != Kind::tuple) return true;
  return std::all_of(key.items().begin(), key.items().end(), is_hashable);
}

Result<Value> array_from_json(const json::array& array, Budget& budget) {
  std::vector<Value> items;
  items.reserve(array.size());
  for (const json::value& element : array) {
    TETRAD_ASSIGN(Value item, Value::from_json(element, budget));
    items.push_back(std::move(item));
  }
  return Value::list(std::move(items), budget);
}

Result<Value> text_from_json(std::string_view text, Budget& budget) {
  if (find_invalid_utf8(text)) {
    return fail(ErrorCode::invalid_argument, "a string of the context is not valid UTF-8");
  }
  return Value::string(std::string(text), budget);
}

Result<Value> object_from_json(const json::object& object, Budget& budget) {
  Dict dict;
  for (const auto& [name, element] : object) {
    TETRAD_ASSIGN(Value key, text_from_json(name, budget));
    TETRAD_ASSIGN(Value value, Value::from_json(element, budget));
    TETRAD_TRY(dict.insert(std::move(key), std::move(value), budget));
  }
  return Value::dict(std::move(dict), budget);
}

}  // namespace

Value Value::undefined(std::string why) {
  return Value(Data(Undefined{std::make_shared<const std::string>(std::move(why))}));
}

Value Value::range(Range value) {
  return Value(Data(std::make_shared<const Range>(value)));
}

Value Value::object(std::shared_ptr<Object> value) {
  return Value(Data(std::move(value)));
}

Value Value::string(std::string bytes, bool is_markup) {
  const int64_t length = count_code_points(bytes);
  return Value(Data(std::make_shared<const String>(String{std::move(bytes), length, is_markup})));
}

Result<Value> Value::string(std::string bytes, Budget& budget) {
  TETRAD_TRY(budget.spend_bytes(bytes.size()));
  return string(std::move(bytes));
}

Result<Value> Value::list(std::vector<Value> items, Budget& budget) {
  TETRAD_ASSIGN(auto data, make_sequence(std::move(items), false, budget));
  return Value(Data(List{std::move(data)}));
}

Result<Value> Value::tuple(std::vector<Value> items, Budget& budget) {
  TETRAD_ASSIGN(auto data, make_sequence(std::move(items), false, budget));
  return Value(Data(Tuple{std::move(data)}));
}

Value Value::pair(Value key, Value value) {
  const int depth = std::max(key.depth(), value.depth()) + 1;
  std::vector<Value> items;
  items.push_back(std::move(key));
  items.push_back(std::move(value));
  return Value(Data(Tuple{std::make_shared<const Sequence>(Sequence{std::move(items), depth})}));
}

Result<Value> Value::group(Value grouper, Value list, Budget& budget) {
  std::vector<Value> items;
  items.push_back(std::move(grouper));
  items.push_back(std::move(list));
  TETRAD_ASSIGN(auto data, make_sequence(std::move(items), true, budget));
  return Value(Data(Tuple{std::move(data)}));
}

Result<Value> Value::dict(Dict dict, Budget& budget) {
  TETRAD_TRY(budget.spend(static_cast<int64_t>(dict.size()) + 1));
  if (dict.depth() > kMaxValueDepth) {
    return fail(ErrorCode::resource_exhausted, "dictionaries are nested more than {} deep",
                kMaxValueDepth);
  }
  return Value(Data(std::make_shared<const Dict>(std::move(dict))));
}

Result<Value> Value::from_json(const json::value& document, Budget& budget) {
  TETRAD_TRY(budget.spend());
  switch (document.kind()) {
    case json::kind::null:
      return none();
    case json::kind::bool_:
      return boolean(document.get_bool());
    case json::kind::int64:
      return integer(document.get_int64());
    case json::kind::uint64:
      return integer(document.get_uint64());
    case json::kind::double_:
      return floating(document.get_double());
    case json::kind::string:
      return text_from_json(document.get_string(), budget);
    case json::kind::array:
      return array_from_json(document.get_array(), budget);
    case json::kind::object:
      return object_from_json(document.get_object(), budget);
  }
  return fail(ErrorCode::internal, "a JSON value of an unknown kind");
}

double Value::as_number() const {
  if (kind() == Kind::floating) return as_floating();
  return static_cast<double>(as_integer());
}

const Sequence& Value::sequence() const {
  if (kind() == Kind::list) return *get<List>().data;
  return *get<Tuple>().data;
}

const std::vector<Value>& Value::items() const {
  return sequence().items;
}

std::string Value::why_undefined() const {
  const auto& why = get<Undefined>().why;
  return why ? *why : "the value is undefined";
}

bool Value::truthy() const {
  switch (kind()) {
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
      return as_boolean();
    case Kind::integer:
      return as_integer() != 0;
    case Kind::floating:
      return as_floating() != 0.0;
    case Kind::string:
      return !bytes().empty();
    case Kind::list:
    case Kind::tuple:
      return !items().empty();
    case Kind::dict:
      return as_dict().size() != 0;
    case Kind::range:
      return as_range().length != 0;
    case Kind::object:
      return as_object().truthy();
  }
  return false;
}

int Value::depth() const {
  switch (kind()) {
    case Kind::list:
    case Kind::tuple:
      return sequence().depth;
    case Kind::dict:
      return as_dict().depth();
    case Kind::object:
      return as_object().depth();
    default:
      return 0;
  }
}

std::string_view Value::type_name() const {
  switch (kind()) {
    case Kind::undefined:
      return "Undefined";
    case Kind::none:
      return "NoneType";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
      return "int";
    case Kind::floating:
      return "float";
    case Kind::string:
      return "str";
    case Kind::list:
      return "list";
    case Kind::tuple:
      return "tuple";
    case Kind::dict:
      return "dict";
    case Kind::range:
      return "range";
    case Kind::object:
      return as_object().type_name();
  }
  return "object";
}

bool Value::is_same(const Value& other) const {
  if (kind() != other.kind()) return false;
  switch (kind()) {
    case Kind::undefined:
    case Kind::none:
      return true;
    case Kind::boolean:
      return as_boolean() == other.as_boolean();
    case Kind::integer:
      return as_integer() == other.as_integer();
    case Kind::floating:
      return as_floating() == other.as_floating();
    case Kind::string:
      return bytes() == other.bytes();
    case Kind::list:
    case Kind::tuple:
      return &sequence() == &other.sequence();
    case Kind::dict:
      return &as_dict() == &other.as_dict();
    case Kind::range:
      return &as_range() == &other.as_range();
    case Kind::object:
      return &as_object() == &other.as_object();
  }
  return false;
}

std::optional<size_t> Dict::position(std::string_view key) const {
  if (entries_.size() >= kIndexedDictSize) {
    const auto found = index_.find(key);
    if (found == index_.end()) return std::nullopt;
    return found->second;
  }
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].key.is_string() && entries_[i].key.bytes() == key) return i;
  }
  return std::nullopt;
}

Result<std::optional<size_t>> Dict::position(const Value& key, Budget& budget) const {
  if (key.is_string()) return position(std::string_view(key.bytes()));
  if (!is_hashable(key)) {
    return fail(ErrorCode::invalid_argument, "unhashable type: '{}'", key.type_name());
  }
  for (size_t i = 0; i < entries_.size(); ++i) {
    TETRAD_ASSIGN(const bool found, equals(entries_[i].key, key, budget));
    if (found) return i;
  }
  return std::nullopt;
}

const Value* Dict::find(std::string_view key) const {
  const auto found = position(key);
  return found ? &entries_[*found].value : nullptr;
}

Result<const Value*> Dict::find(const Value& key, Budget& budget) const {
  TETRAD_ASSIGN(const auto found, position(key, budget));
  return found ? &entries_[*found].value : nullptr;
}

Result<void> Dict::insert(Value key, Value value, Budget& budget) {
  TETRAD_ASSIGN(const auto found, position(key, budget));
  depth_ = std::max({depth_, key.depth() + 1, value.depth() + 1});
  if (found) {
    entries_[*found].value = std::move(value);
    return {};
  }
  entries_.push_back({std::move(key), std::move(value)});
  if (entries_.size() < kIndexedDictSize) return {};
  if (entries_.size() == kIndexedDictSize) {
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].key.is_string()) index_.emplace(entries_[i].key.bytes(), i);
    }
  } else if (entries_.back().key.is_string()) {
    index_.emplace(entries_.back().key.bytes(), entries_.size() - 1);
  }
  return {};
}

}  // namespace tetrad::jinja
