#pragma once

// The values a template computes with. They are Python's, because templates are written against
// Python: True is 1 and prints as "True", 1.0 is not printed as 1, strings are indexed by code
// point, dictionaries keep their order, and a missing variable is neither none nor an error yet.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "chat/jinja/budget.h"

namespace tetrad::jinja {

/// Integers. Twice 64 bits hold every number of a JSON document exactly; arithmetic that leaves
/// this range is an error, never a wrong number.
__extension__ typedef __int128 Int;

class Dict;
class Object;
class Value;
struct Sequence;

struct Undefined {
  /// "'x' is undefined": what to say when the value is used. Null: nothing in particular.
  std::shared_ptr<const std::string> why;
};

struct None {};

struct String {
  std::string bytes;   // UTF-8
  int64_t length = 0;  // code points
  /// Result of `escape` or `safe`: escaping it again changes nothing.
  bool is_markup = false;

  bool is_ascii() const { return static_cast<size_t>(length) == bytes.size(); }
};

/// Python's range object: start, start+step, …; `length` elements.
struct Range {
  Int start = 0;
  Int stop = 0;
  Int step = 1;
  int64_t length = 0;

  Int at(int64_t index) const { return start + step * index; }
};

enum class Kind : uint8_t {
  undefined,
  none,
  boolean,
  integer,
  floating,
  string,
  list,
  tuple,
  dict,
  range,
  object,
};

/// Containers inside containers deeper than this are refused, so that walking a value recursively
/// is always safe.
inline constexpr int kMaxValueDepth = 200;

/// Immutable and cheap to copy, except that an Object may have state.
class Value {
 public:
  Value() = default;  // undefined

  static Value undefined(std::string why);
  static Value none() { return Value(Data(None{})); }
  static Value boolean(bool value) { return Value(Data(value)); }
  static Value integer(Int value) { return Value(Data(value)); }
  static Value floating(double value) { return Value(Data(value)); }
  static Value range(Range value);
  static Value object(std::shared_ptr<Object> value);
  /// A string that was already paid for, or is as short as a word.
  static Value string(std::string bytes, bool is_markup = false);

  static Result<Value> string(std::string bytes, Budget& budget);
  static Result<Value> list(std::vector<Value> items, Budget& budget);
  static Result<Value> tuple(std::vector<Value> items, Budget& budget);
  /// One entry of a dictionary as a tuple. Its depth is that of the dictionary, so that it needs no
  /// check.
  static Value pair(Value key, Value value);
  /// What `groupby` yields: the pair (grouper, list), whose parts also have these names.
  static Result<Value> group(Value grouper, Value list, Budget& budget);
  static Result<Value> dict(Dict dict, Budget& budget);
  /// A JSON document; refuses strings that are not UTF-8.
  static Result<Value> from_json(const json::value& document, Budget& budget);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is_undefined() const { return kind() == Kind::undefined; }
  bool is_none() const { return kind() == Kind::none; }
  bool is_string() const { return kind() == Kind::string; }
  bool is_dict() const { return kind() == Kind::dict; }
  bool is_object() const { return kind() == Kind::object; }
  /// bool, int or float: the kinds that arithmetic takes.
  bool is_number() const { return is_integral() || kind() == Kind::floating; }
  bool is_integral() const { return kind() == Kind::boolean || kind() == Kind::integer; }
  bool is_sequence() const { return kind() == Kind::list || kind() == Kind::tuple; }

  // Only for a value of that kind.
  bool as_boolean() const { return std::get<bool>(data_); }
  /// An integer, or a boolean as 0 or 1.
  Int as_integer() const { return kind() == Kind::boolean ? Int{as_boolean()} : get<Int>(); }
  double as_floating() const { return get<double>(); }
  /// Any number, rounded to the nearest double.
  double as_number() const;
  const String& as_string() const { return *get<StringRef>(); }
  const std::string& bytes() const { return as_string().bytes; }
  /// The elements of a list or tuple.
  const std::vector<Value>& items() const;
  /// The list or tuple itself.
  const Sequence& sequence() const;
  const Dict& as_dict() const { return *get<DictRef>(); }
  const Range& as_range() const { return *get<RangeRef>(); }
  Object& as_object() const { return *get<ObjectRef>(); }
  const std::shared_ptr<Object>& object_ref() const { return get<ObjectRef>(); }
  /// What an undefined value has to say for itself.
  std::string why_undefined() const;

  /// Python's truth value: empty is false.
  bool truthy() const;
  /// Nesting of containers: 0 for a plain value.
  int depth() const;
  /// The name of the type in Python: "str", "dict", "NoneType", …
  std::string_view type_name() const;
  /// The same object in memory, or an equal plain value of the same kind: Python's `is`.
  bool is_same(const Value& other) const;

 private:
  using StringRef = std::shared_ptr<const String>;
  struct List {
    std::shared_ptr<const Sequence> data;
  };
  struct Tuple {
    std::shared_ptr<const Sequence> data;
  };
  using DictRef = std::shared_ptr<const Dict>;
  using RangeRef = std::shared_ptr<const Range>;
  using ObjectRef = std::shared_ptr<Object>;
  // In the order of Kind.
  using Data = std::variant<Undefined, None, bool, Int, double, StringRef, List, Tuple, DictRef,
                            RangeRef, ObjectRef>;

  explicit Value(Data data) : data_(std::move(data)) {}
  template <class T>
  const T& get() const {
    return std::get<T>(data_);
  }

  Data data_;
};

struct Sequence {
  std::vector<Value> items;
  int depth = 1;
  bool is_group = false;
};

/// A dictionary in order of insertion. Keys compare as in Python: 1, 1.0 and True are one key.
class Dict {
 public:
  struct Entry {
    Value key;
    Value value;
  };

  /// The value of a key, or null. An unhashable key (list, dict) is an error.
  Result<const Value*> find(const Value& key, Budget& budget) const;
  const Value* find(std::string_view key) const;
  /// Adds a key or replaces the value of an equal one.
  Result<void> insert(Value key, Value value, Budget& budget);

  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  int depth() const { return depth_; }

 private:
  Result<std::optional<size_t>> position(const Value& key, Budget& budget) const;
  std::optional<size_t> position(std::string_view key) const;

  std::vector<Entry> entries_;
  // Views into the keys of entries_, once there are enough of them to pay for it.
  std::unordered_map<std::string_view, size_t> index_;
  int depth_ = 1;
};

}  // namespace tetrad::jinja
