#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "base/error.h"

namespace tetrad {

/// A whole file mapped read-only. Move-only; views into it must not outlive it.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }

  /// Tells the system that `part`, which lies in bytes(), and what surrounds it are not needed for
  /// now: they no longer count as memory of this process. Reading them again brings them back.
  void release(std::span<const std::byte> part) const;

  /// Has the system read what of `part`, which lies in bytes(), is not in its cache yet. Advice,
  /// too.
  void read_ahead(std::span<const std::byte> part) const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// The whole file as a string; refuses files over `max_bytes`.
Result<std::string> read_text_file(const std::filesystem::path& path, size_t max_bytes = 256 << 20);

}  // namespace tetrad
