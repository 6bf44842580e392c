#include "base/pending_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/system_error.h"

namespace tetrad {

Result<PendingFile> PendingFile::create(const std::filesystem::path& path) {
  PendingFile file;
  file.path_ = path;
  file.temporary_ = path.string() + ".tmp";
  file.fd_ =
      ::open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (file.fd_ < 0) return system_error(file.temporary_, "create");
  return file;
}

PendingFile::PendingFile(PendingFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      fd_(std::exchange(other.fd_, -1)) {}

PendingFile::~PendingFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

Result<void> PendingFile::write(const void* data, size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::write(fd_, next, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return system_error(temporary_, "write");
    next += written;
    size -= static_cast<size_t>(written);
  }
  return {};
}

Result<void> PendingFile::commit() {
  if (::fsync(fd_) != 0) return system_error(temporary_, "flush");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return system_error(path_, "rename the finished file to");
  }
  ::close(std::exchange(fd_, -1));
  return flush_folder();
}

/// Makes the new name survive a power cut.
Result<void> PendingFile::flush_folder() const {
  const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : ".";
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return system_error(folder, "open");
  const bool flushed = ::fsync(fd) == 0;
  ::close(fd);
  if (!flushed) return system_error(folder, "flush");
  return {};
}

Result<void> write_text_file(const std::filesystem::path& path, std::string_view text) {
  TETRAD_ASSIGN(PendingFile file, PendingFile::create(path));
  TETRAD_TRY(file.write(text.data(), text.size()));
  return file.commit();
}

}  // namespace tetrad
