#include "api/random_id.h"

#include <fmt/core.h>

#include <random>

namespace tetrad::api {

std::string random_id(std::string_view prefix) {
  std::random_device entropy;
  return fmt::format("{}{:08x}{:08x}{:08x}{:08x}", prefix, entropy(), entropy(), entropy(),
                     entropy());
}

}  // namespace tetrad::api
