#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "base/error.h"

namespace tetrad {

/// The failure of a system call that puts bytes into the file `path`, from errno. Where the disk, a
/// quota or a limit of the process leaves no room, the error is resource_exhausted and says how
/// many `bytes` were to be written and how many are free.
tl::unexpected<Error> write_error(const std::filesystem::path& path, std::string_view action,
                                  uint64_t bytes);

}  // namespace tetrad
