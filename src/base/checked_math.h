#pragma once

// Arithmetic on sizes that come from outside: a wrap-around is an answer of its own, never a
// number.

#include <cstdint>
#include <optional>
#include <span>

namespace tetrad {

inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// Product of all dimensions (1 for a scalar), nothing for a negative dimension or an overflow.
inline std::optional<uint64_t> checked_num_elements(std::span<const int64_t> shape) {
  uint64_t count = 1;
  for (const int64_t dim : shape) {
    if (dim < 0) return std::nullopt;
    const auto next = checked_mul(count, static_cast<uint64_t>(dim));
    if (!next) return std::nullopt;
    count = *next;
  }
  return count;
}

}  // namespace tetrad
