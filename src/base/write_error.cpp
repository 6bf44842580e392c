#include "base/write_error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

#include "base/system_error.h"

namespace tetrad {

tl::unexpected<Error> write_error(const std::filesystem::path& path, std::string_view action,
                                  uint64_t bytes) {
  const int number = errno;
  if (number != ENOSPC && number != EDQUOT && number != EFBIG) return system_error(path, action);
  std::error_code unknown;
  const auto room =
      std::filesystem::space(path.has_parent_path() ? path.parent_path() : ".", unknown);
  return fail(ErrorCode::resource_exhausted, "cannot {} {}: {}; {} bytes are needed, {} are free",
              action, path.string(), std::strerror(number), bytes,
              unknown ? std::string("an unknown number") : fmt::to_string(room.available));
}

}  // namespace tetrad
