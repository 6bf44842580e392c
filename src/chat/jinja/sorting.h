#pragma once

// sorted(): stable, with Python's rules for what can be compared.

#include <functional>
#include <vector>

#include "chat/jinja/value.h"

namespace tetrad::jinja {

struct Keyed {
  Value key;
  Value value;
};

using LessThan = std::function<Result<bool>(const Value&, const Value&)>;

/// Sorts by key with `less`; equal keys keep their order, also when `reverse` is set. Stops with
/// the first error of a comparison.
Result<void> sort_keyed(std::vector<Keyed>& items, const LessThan& less, bool reverse);

Result<void> sort_values(std::vector<Value>& values, Budget& budget);

}  // namespace tetrad::jinja
