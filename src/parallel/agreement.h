#pragma once

// What all ranks must have alike before they compute together, and whether all could do what each
// did for itself.

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

/// Every rank says how it fared, and all get the same answer. The outer error is the
/// communicator's, after which nothing goes on; the inner one is that of the first rank that
/// failed, with its number unless it is everybody's.
Result<Result<void>> gather_outcomes(Communicator& ranks, const Result<void>& mine);

/// Of what each has made for itself.
template <class T>
Result<Result<void>> gather_outcomes(Communicator& ranks, const Result<T>& mine) {
  return gather_outcomes(ranks, mine ? Result<void>() : Result<void>(tl::unexpected(mine.error())));
}

/// The same in one: all ranks go on or give up together.
template <class T>
Result<void> agree(Communicator& ranks, const Result<T>& mine) {
  TETRAD_ASSIGN(Result<void> outcome, gather_outcomes(ranks, mine));
  return outcome;
}

}  // namespace tetrad::parallel
