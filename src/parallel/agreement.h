#pragma once

// What all ranks must have alike before they compute together.

#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "parallel/communicator.h"

namespace tetrad::parallel {

struct AgreedValue {
  std::string_view name;  // "config.json", "--dtype": for a person
  std::string value;      // more than kLongestValue characters are compared by their digest
};
inline constexpr size_t kLongestValue = 64;

/// Every rank brings as many values, in the same order. The same error on all ranks where one has
/// another value than rank 0: with its name, the rank, and both values.
Result<void> agree(Communicator& ranks, std::span<const AgreedValue> values);

}  // namespace tetrad::parallel
