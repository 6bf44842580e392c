#pragma once

// For tests only: bodies of requests.

#include <fmt/format.h>

#include <ostream>
#include <string>
#include <string_view>

namespace tetrad::api {

/// A chat with one more field: `"n": 2`.
inline std::string chat_body(std::string_view field = "") {
  return fmt::format(R"({{"messages": [{{"role": "user", "content": "Hi"}}]{}{}}})",
                     field.empty() ? "" : ", ", field);
}

/// A completion with one more field.
inline std::string completion_body(std::string_view field = "") {
  return fmt::format(R"({{"prompt": "Once"{}{}}})", field.empty() ? "" : ", ", field);
}

/// `count` items with commas between them; {} in `item` becomes the number.
inline std::string many(int count, const char* item) {
  std::string items;
  for (int i = 0; i < count; ++i)
    items += (i > 0 ? "," : "") + fmt::format(fmt::runtime(item), i);
  return items;
}

/// A field that is refused, and its name in the error.
struct BadField {
  const char* field;
  const char* param;
};

/// For the names of failed tests.
inline void PrintTo(const BadField& bad, std::ostream* out) {
  *out << bad.field;
}

}  // namespace tetrad::api
