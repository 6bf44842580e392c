#pragma once

// object.name, object[key] and object[a:b:c].

#include <optional>
#include <string_view>

#include "chat/jinja/value.h"

namespace tetrad::jinja {

/// A method or attribute of the value itself, not a key of a dictionary. Attributes that would
/// change the value or reveal its innards are there, but undefined.
Result<std::optional<Value>> find_attribute(const Value& object, std::string_view name);

/// `object.name`: an attribute, else the item of that key, else undefined. An error for an
/// undefined object.
Result<Value> get_attribute(const Value& object, std::string_view name);

/// `object[key]`: the item, else the attribute of that name, else undefined.
Result<Value> get_item(const Value& object, const Value& key, Budget& budget);

/// `object[start:stop:step]` of a string, list, tuple or range; undefined or none: not given.
struct SliceBounds {
  std::optional<Value> start;
  std::optional<Value> stop;
  std::optional<Value> step;
};
Result<Value> get_slice(const Value& object, const SliceBounds& bounds, Budget& budget);

/// The indices a slice of a sequence of `length` elements selects.
struct SliceIndices {
  int64_t start = 0;
  int64_t step = 1;
  int64_t count = 0;
};
Result<SliceIndices> resolve_slice(const SliceBounds& bounds, int64_t length);

}  // namespace tetrad::jinja
