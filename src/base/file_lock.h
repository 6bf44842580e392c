#pragma once

#include <filesystem>

#include "base/error.h"

namespace tetrad {

/// A file that one process at a time can hold, for as long as the object lives. A process that is
/// killed lets go; its file stays and can be taken again.
class FileLock {
 public:
  /// Creates the file if need be. Does not wait: a file that another process holds is an error
  /// (invalid_argument).
  static Result<FileLock> take(const std::filesystem::path& path);

  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  /// Removes the file.
  ~FileLock();

 private:
  FileLock(std::filesystem::path path, int fd);

  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace tetrad
