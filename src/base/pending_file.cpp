#include "base/pending_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/system_error.h"
#include "base/write_error.h"

namespace tetrad {
namespace {

/// "model.bin" lies in ".".
std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

}  // namespace

std::filesystem::path PendingFile::temporary_of(const std::filesystem::path& path) {
  return path.string() + ".tmp";
}

Result<PendingFile> PendingFile::open(const std::filesystem::path& path, int flags) {
  PendingFile file;
  file.path_ = path;
  file.temporary_ = temporary_of(path);
  file.fd_ =
      ::open(file.temporary_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0666);
  if (file.fd_ < 0) return system_error(file.temporary_, "create");
  return file;
}

Result<PendingFile> PendingFile::create(const std::filesystem::path& path) {
  return open(path, O_TRUNC);
}

Result<PendingFile> PendingFile::resume(const std::filesystem::path& path) {
  TETRAD_ASSIGN(PendingFile file, open(path, 0));
  file.stays_ = true;
  return file;
}

PendingFile::PendingFile(PendingFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      fd_(std::exchange(other.fd_, -1)),
      stays_(other.stays_),
      next_(other.next_) {}

PendingFile::~PendingFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (!stays_) ::unlink(temporary_.c_str());
}

Result<void> PendingFile::write(const void* data, size_t size) {
  TETRAD_TRY(write_at(next_, {static_cast<const std::byte*>(data), size}));
  next_ += size;
  return {};
}

Result<void> PendingFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return write_error(temporary_, "write", bytes.size());
    offset += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Result<void> PendingFile::read_at(uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t got = ::pread(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error(temporary_, "read");
    if (got == 0) {
      std::ranges::fill(bytes, std::byte{0});
      return {};
    }
    offset += static_cast<uint64_t>(got);
    bytes = bytes.subspan(static_cast<size_t>(got));
  }
  return {};
}

Result<void> PendingFile::reserve(uint64_t size) {
  struct stat info{};
  if (::fstat(fd_, &info) != 0) return system_error(temporary_, "read the size of");
  const auto taken = static_cast<uint64_t>(info.st_blocks) * 512;  // POSIX counts in these
  const uint64_t missing = size > taken ? size - taken : 0;
  if (size > 0 && ::fallocate(fd_, 0, 0, static_cast<off_t>(size)) != 0 && errno != EOPNOTSUPP) {
    return write_error(temporary_, "take the room for", missing);
  }
  if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) {
    return write_error(temporary_, "set the size of", missing);
  }
  return {};
}

Result<void> PendingFile::flush() {
  if (::fsync(fd_) != 0) return write_error(temporary_, "flush", 0);
  ::posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);  // best effort
  return {};
}

Result<void> PendingFile::commit() {
  TETRAD_TRY(flush());
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return system_error(path_, "rename the finished file to");
  }
  ::close(std::exchange(fd_, -1));
  return flush_folder(folder_of(path_));
}

Result<void> flush_folder(const std::filesystem::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return system_error(folder, "open");
  const bool flushed = ::fsync(fd) == 0;
  const auto failed = system_error(folder, "flush");
  ::close(fd);
  if (!flushed) return failed;
  return {};
}

Result<void> write_text_file(const std::filesystem::path& path, std::string_view text) {
  TETRAD_ASSIGN(PendingFile file, PendingFile::create(path));
  TETRAD_TRY(file.write(text.data(), text.size()));
  return file.commit();
}

}  // namespace tetrad
