#pragma once

#include <cstdint>
#include <string>

namespace tetrad {

/// "767,856"
inline std::string grouped_number(int64_t number) {
  std::string text = std::to_string(number);
  const size_t first_digit = number < 0 ? 1 : 0;
  for (size_t at = text.size(); at > first_digit + 3;)
    text.insert(at -= 3, ",");
  return text;
}

}  // namespace tetrad
