#include "chat/jinja/attributes.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "chat/jinja/arguments.h"
#include "chat/jinja/methods.h"
#include "chat/jinja/object.h"
#include "chat/jinja/python_text.h"
#include "chat/jinja/unicode.h"

namespace tetrad::jinja {
namespace {

Value unsafe(const Value& object, std::string_view name) {
  return Value::undefined(
      fmt::format("access to attribute '{}' of '{}' object is unsafe", name, object.type_name()));
}

std::string object_name(const Value& object) {
  if (object.is_none()) return "None";
  return std::string(object.type_name()) + " object";
}

Result<Value> missing_item(const Value& object, const Value& key, Budget& budget) {
  if (key.is_string()) {
    return Value::undefined(
        fmt::format("'{}' has no attribute '{}'", object_name(object), key.bytes()));
  }
  TETRAD_ASSIGN(const std::string shown, repr(key, budget));
  return Value::undefined(fmt::format("{} has no element {}", object_name(object), shown));
}

bool is_dunder(std::string_view name) {
  return name.size() > 4 && name.starts_with("__") && name.ends_with("__");
}

std::optional<Value> range_attribute(const Range& range, std::string_view name) {
  if (name == "start") return Value::integer(range.start);
  if (name == "stop") return Value::integer(range.stop);
  if (name == "step") return Value::integer(range.step);
  return std::nullopt;
}

std::optional<Value> tuple_attribute(const Value& tuple, std::string_view name) {
  if (tuple.sequence().is_group && name == "grouper") return tuple.items()[0];
  if (tuple.sequence().is_group && name == "list") return tuple.items()[1];
  return bind_method(tuple_methods(), tuple, name);
}

/// The item at a Python index, which may count from the end; nothing out of range.
std::optional<int64_t> resolve_index(const Value& key, int64_t length) {
  Int index = key.as_integer();
  if (index < 0) index += length;
  if (index < 0 || index >= length) return std::nullopt;
  return static_cast<int64_t>(index);
}

Result<Value> character_at(const Value& text, int64_t index, Budget& budget) {
  const std::string& bytes = text.bytes();
  if (text.as_string().is_ascii())
    return Value::string(bytes.substr(static_cast<size_t>(index), 1));
  TETRAD_TRY(budget.spend_bytes(bytes.size()));
  const size_t start = byte_offset(bytes, index);
  size_t end = start;
  decode_code_point(bytes, end);
  return Value::string(bytes.substr(start, end - start));
}

/// The item by its index; nothing for other keys and out of range.
Result<std::optional<Value>> indexed_item(const Value& object, const Value& key, Budget& budget) {
  if (!key.is_integral()) return std::nullopt;
  switch (object.kind()) {
    case Kind::string:
      if (const auto index = resolve_index(key, object.as_string().length)) {
        return character_at(object, *index, budget);
      }
      return std::nullopt;
    case Kind::list:
    case Kind::tuple:
      if (const auto index = resolve_index(key, static_cast<int64_t>(object.items().size()))) {
        return object.items()[static_cast<size_t>(*index)];
      }
      return std::nullopt;
    case Kind::range:
      if (const auto index = resolve_index(key, object.as_range().length)) {
        return Value::integer(object.as_range().at(*index));
      }
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

Result<Value> slice_string(const Value& text, const SliceIndices& indices, Budget& budget) {
  const std::string& bytes = text.bytes();
  TETRAD_TRY(budget.spend_bytes(bytes.size()));
  if (indices.count == 0) return Value::string("");
  if (indices.step == 1) {
    const size_t start = byte_offset(bytes, indices.start);
    const size_t size = byte_offset(std::string_view(bytes).substr(start), indices.count);
    return Value::string(bytes.substr(start, size));
  }
  std::vector<size_t> offsets;  // of each code point
  offsets.reserve(static_cast<size_t>(text.as_string().length) + 1);
  for (size_t position = 0; position < bytes.size();) {
    offsets.push_back(position);
    decode_code_point(bytes, position);
  }
  offsets.push_back(bytes.size());
  std::string out;
  for (int64_t i = 0; i < indices.count; ++i) {
    const auto index = static_cast<size_t>(indices.start + i * indices.step);
    out.append(bytes, offsets[index], offsets[index + 1] - offsets[index]);
  }
  return Value::string(std::move(out));
}

Result<Value> slice_sequence(const Value& sequence, const SliceIndices& indices, Budget& budget) {
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(indices.count));
  for (int64_t i = 0; i < indices.count; ++i) {
    items.push_back(sequence.items()[static_cast<size_t>(indices.start + i * indices.step)]);
  }
  if (sequence.kind() == Kind::list) return Value::list(std::move(items), budget);
  return Value::tuple(std::move(items), budget);
}

Value slice_range(const Range& range, const SliceIndices& indices) {
  Range part;
  part.start = range.start + range.step * indices.start;
  // With a single element the step means nothing, and might be too large to multiply.
  part.step = indices.count > 1 ? range.step * indices.step : range.step;
  part.length = indices.count;
  part.stop = part.start + part.step * indices.count;
  return Value::range(part);
}

/// One bound of a slice, cut to what a length of 64 bits can mean; nothing if not given.
Result<std::optional<int64_t>> bound(const std::optional<Value>& value) {
  if (!value || value->is_none()) return std::nullopt;
  if (!value->is_integral()) {
    return fail(ErrorCode::invalid_argument, "slice indices must be integers or None, not {}",
                value->is_undefined() ? value->why_undefined() : std::string(value->type_name()));
  }
  constexpr Int kFar = Int{1} << 62;
  return static_cast<int64_t>(std::clamp(value->as_integer(), -kFar, kFar));
}

}  // namespace

Result<std::optional<Value>> find_attribute(const Value& object, std::string_view name) {
  if (is_dunder(name)) return unsafe(object, name);
  switch (object.kind()) {
    case Kind::string:
      return bind_method(string_methods(), object, name);
    case Kind::list:
      if (is_list_mutator(name)) return unsafe(object, name);
      return bind_method(list_methods(), object, name);
    case Kind::tuple:
      return tuple_attribute(object, name);
    case Kind::dict:
      if (is_dict_mutator(name)) return unsafe(object, name);
      return bind_method(dict_methods(), object, name);
    case Kind::floating:
      return bind_method(float_methods(), object, name);
    case Kind::range:
      return range_attribute(object.as_range(), name);
    case Kind::object: {
      TETRAD_ASSIGN(auto found, object.as_object().attribute(object, name));
      if (found && name.starts_with("_")) return unsafe(object, name);
      return found;
    }
    default:
      return std::nullopt;
  }
}

Result<Value> get_attribute(const Value& object, std::string_view name) {
  if (object.is_undefined()) return fail(ErrorCode::invalid_argument, "{}", object.why_undefined());
  TETRAD_ASSIGN(auto found, find_attribute(object, name));
  if (found) return std::move(*found);
  if (object.is_dict()) {
    if (const Value* value = object.as_dict().find(name)) return *value;
  }
  return Value::undefined(fmt::format("'{}' has no attribute '{}'", object_name(object), name));
}

Result<Value> get_item(const Value& object, const Value& key, Budget& budget) {
  if (object.is_undefined()) return fail(ErrorCode::invalid_argument, "{}", object.why_undefined());
  if (object.is_dict()) {
    // An unhashable key is a key that is not there.
    const auto value = object.as_dict().find(key, budget);
    if (!value && value.error().code == ErrorCode::resource_exhausted) {
      return tl::unexpected<Error>(value.error());
    }
    if (value && *value != nullptr) return **value;
  } else {
    TETRAD_ASSIGN(auto item, indexed_item(object, key, budget));
    if (item) return std::move(*item);
  }
  if (key.is_string()) {
    TETRAD_ASSIGN(auto found, find_attribute(object, key.bytes()));
    if (found) return std::move(*found);
  }
  return missing_item(object, key, budget);
}

Result<SliceIndices> resolve_slice(const SliceBounds& bounds, int64_t length) {
  TETRAD_ASSIGN(const auto start, bound(bounds.start));
  TETRAD_ASSIGN(const auto stop, bound(bounds.stop));
  TETRAD_ASSIGN(const auto given_step, bound(bounds.step));
  const int64_t step = given_step.value_or(1);
  if (step == 0) return fail(ErrorCode::invalid_argument, "slice step cannot be zero");
  // Backwards, positions run from the last element to the one before the first.
  const int64_t lowest = step > 0 ? 0 : -1;
  const int64_t highest = step > 0 ? length : length - 1;
  const auto position = [&](std::optional<int64_t> index, int64_t if_absent) {
    if (!index) return if_absent;
    return std::clamp(*index < 0 ? *index + length : *index, lowest, highest);
  };
  const int64_t from = position(start, step > 0 ? lowest : highest);
  const int64_t to = position(stop, step > 0 ? highest : lowest);
  const int64_t distance = step > 0 ? to - from : from - to;
  const int64_t stride = step > 0 ? step : -step;
  return SliceIndices{from, step, distance <= 0 ? 0 : (distance - 1) / stride + 1};
}

Result<Value> get_slice(const Value& object, const SliceBounds& bounds, Budget& budget) {
  if (object.is_undefined()) return fail(ErrorCode::invalid_argument, "{}", object.why_undefined());
  int64_t length = 0;
  if (object.is_string()) {
    length = object.as_string().length;
  } else if (object.is_sequence()) {
    length = static_cast<int64_t>(object.items().size());
  } else if (object.kind() == Kind::range) {
    length = object.as_range().length;
  } else {
    return fail(ErrorCode::invalid_argument, "'{}' object cannot be sliced", object.type_name());
  }
  TETRAD_ASSIGN(const SliceIndices indices, resolve_slice(bounds, length));
  if (object.is_string()) return slice_string(object, indices, budget);
  if (object.is_sequence()) return slice_sequence(object, indices, budget);
  return slice_range(object.as_range(), indices);
}

}  // namespace tetrad::jinja
