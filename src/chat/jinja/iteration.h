#pragma once

// Walking over values.

#include <memory>
#include <vector>

#include "chat/jinja/object.h"
#include "chat/jinja/value.h"

namespace tetrad::jinja {

/// iter(): strings yield characters, dictionaries keys, undefined yields nothing. An error for
/// what cannot be iterated.
Result<std::shared_ptr<Iterator>> iterate(const Value& value);

/// All values, one step each; uses an iterator up.
Result<std::vector<Value>> collect(const Value& value, Budget& budget);

/// All values from the last to the first, for what Python's reversed() takes: sequences and
/// dictionaries, but no iterators.
Result<std::vector<Value>> collect_reversed(const Value& value, Budget& budget);

/// len(); an error for values without one.
Result<int64_t> length_of(const Value& value);

/// range(start, stop, step): at most kMaxRangeLength elements, as Jinja's sandbox allows.
inline constexpr int64_t kMaxRangeLength = 100'000;
Result<Range> make_range(Int start, Int stop, Int step);

}  // namespace tetrad::jinja
