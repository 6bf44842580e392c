#include "byte_size_flag.h"

#include <string>

#include "plan/byte_size.h"

namespace tetrad {

CLI::Validator as_byte_size() {
  const auto to_bytes = [](std::string& text) -> std::string {
    const bool is_bare = text.find_first_not_of("0123456789") == std::string::npos;
    const auto bytes = plan::parse_byte_size(is_bare ? text + "B" : text);
    if (!bytes) return bytes.error().message;
    text = std::to_string(*bytes);
    return {};
  };
  return {to_bytes, "SIZE", "byte size"};
}

}  // namespace tetrad
