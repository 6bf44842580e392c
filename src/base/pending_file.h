#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>

#include "base/error.h"

namespace tetrad {

/// A new file that appears under its name only when it is complete and on the disk: written as
/// "<name>.tmp" beside it, flushed, renamed. Without commit() it is removed again.
class PendingFile {
 public:
  static Result<PendingFile> create(const std::filesystem::path& path);

  PendingFile(PendingFile&& other) noexcept;
  PendingFile& operator=(PendingFile&&) = delete;
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;
  ~PendingFile();

  Result<void> write(const void* data, size_t size);
  /// Replaces a file that already has the name.
  Result<void> commit();

 private:
  PendingFile() = default;
  Result<void> flush_folder() const;

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int fd_ = -1;
};

/// A whole text file by way of a PendingFile.
Result<void> write_text_file(const std::filesystem::path& path, std::string_view text);

}  // namespace tetrad
