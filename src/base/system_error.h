#pragma once

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "base/error.h"

namespace tetrad {

/// The failure of a system call on `path`, from errno: "cannot open x: No such file or directory".
inline tl::unexpected<Error> system_error(const std::filesystem::path& path,
                                          std::string_view action) {
  const int number = errno;
  const ErrorCode code = number == ENOENT ? ErrorCode::not_found : ErrorCode::io;
  return fail(code, "cannot {} {}: {}", action, path.string(), std::strerror(number));
}

}  // namespace tetrad
