#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "base/error.h"

namespace tetrad {

/// A new file that appears under its name only when it is complete and on the disk: written as
/// "<name>.tmp" beside it, flushed, renamed. What cannot be written for want of room is an error
/// that names the file, the bytes and the room there is (resource_exhausted).
class PendingFile {
 public:
  /// An empty file, which is removed again without commit().
  static Result<PendingFile> create(const std::filesystem::path& path);
  /// What an earlier PendingFile of this kind has left, or an empty file. It stays without
  /// commit(), so that the work can go on later.
  static Result<PendingFile> resume(const std::filesystem::path& path);

  PendingFile(PendingFile&& other) noexcept;
  PendingFile& operator=(PendingFile&&) = delete;
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;
  ~PendingFile();

  /// Behind what was written last, from the beginning of the file on.
  Result<void> write(const void* data, size_t size);
  Result<void> write_at(uint64_t offset, std::span<const std::byte> bytes);
  /// Bytes past the end of the file read as zero.
  Result<void> read_at(uint64_t offset, std::span<std::byte> bytes) const;
  /// Makes the file `size` bytes long and, where the file system can, takes the room for them at
  /// once: a disk that is too small is known before any work has gone into the file.
  Result<void> reserve(uint64_t size);
  /// Onto the disk, and out of the page cache.
  Result<void> flush();
  /// Replaces a file that already has the name.
  Result<void> commit();

  /// Where the bytes are until commit().
  const std::filesystem::path& temporary() const { return temporary_; }
  static std::filesystem::path temporary_of(const std::filesystem::path& path);

 private:
  PendingFile() = default;
  static Result<PendingFile> open(const std::filesystem::path& path, int flags);

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int fd_ = -1;
  bool stays_ = false;
  uint64_t next_ = 0;  // where write() goes on
};

/// A whole text file by way of a PendingFile.
Result<void> write_text_file(const std::filesystem::path& path, std::string_view text);

/// Makes new and removed names in a folder survive a power cut.
Result<void> flush_folder(const std::filesystem::path& folder);

}  // namespace tetrad
