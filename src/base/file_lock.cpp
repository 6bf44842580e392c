#include "base/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/system_error.h"

namespace tetrad {
namespace {

/// Whether the name still leads to the file that was opened: its last holder may have removed it
/// between our opening and our locking it.
bool leads_to(const std::filesystem::path& path, int fd) {
  struct stat named{};
  struct stat opened{};
  return ::stat(path.c_str(), &named) == 0 && ::fstat(fd, &opened) == 0 &&
         named.st_ino == opened.st_ino && named.st_dev == opened.st_dev;
}

}  // namespace

Result<FileLock> FileLock::take(const std::filesystem::path& path) {
  for (;;) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) return system_error(path, "create");
    FileLock lock(path, fd);
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      const bool busy = errno == EWOULDBLOCK;
      const auto failed = system_error(path, "lock");
      ::close(std::exchange(lock.fd_, -1));  // it is another's and stays
      if (!busy) return failed;
      return fail(ErrorCode::invalid_argument, "another process is at work here: it holds {}",
                  path.string());
    }
    if (leads_to(path, fd)) return lock;
    ::close(std::exchange(lock.fd_, -1));
  }
}

FileLock::FileLock(std::filesystem::path path, int fd) : path_(std::move(path)), fd_(fd) {}

FileLock::FileLock(FileLock&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

FileLock::~FileLock() {
  if (fd_ < 0) return;
  ::unlink(path_.c_str());  // while it is still held
  ::close(fd_);
}

}  // namespace tetrad
