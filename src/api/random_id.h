#pragma once

#include <string>
#include <string_view>

namespace tetrad::api {

/// `prefix` and 32 hex digits. Unguessable, so that ids tell nothing about other clients.
std::string random_id(std::string_view prefix);

}  // namespace tetrad::api
