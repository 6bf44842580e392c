#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/system_error.h"

namespace tetrad {
namespace {

/// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

struct OpenedFile {
  int fd;
  size_t size;
};

/// Opens a regular file and tells its size; the caller owns the descriptor.
Result<OpenedFile> open_regular(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return system_error(path, "open");
  struct stat info{};
  if (::fstat(fd, &info) != 0) {
    auto error = system_error(path, "read the size of");
    ::close(fd);
    return error;
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    return fail(ErrorCode::io, "{} is not a regular file", path.string());
  }
  return OpenedFile{fd, static_cast<size_t>(info.st_size)};
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  TETRAD_ASSIGN(const OpenedFile opened, open_regular(path));
  const Descriptor descriptor(opened.fd);
  MappedFile file;
  if (opened.size == 0) return file;  // mmap refuses an empty range; an empty view says the same
  void* address = ::mmap(nullptr, opened.size, PROT_READ, MAP_SHARED, descriptor.get(), 0);
  if (address == MAP_FAILED) return system_error(path, "map");
  file.data_ = static_cast<const std::byte*>(address);
  file.size_ = opened.size;
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release(std::span<const std::byte> part) const {
  if (part.empty()) return;
  // A page fault maps its neighbours too, so exact ranges would leave their edges behind: with tens
  // of thousands of tensors, gigabytes. The grain is that of the largest pages, whose multiples the
  // mapping need not start at.
  constexpr size_t kGrain = size_t{2} << 20;
  const auto offset = static_cast<size_t>(part.data() - data_);
  const size_t begin = offset / kGrain * kGrain;
  const size_t end = std::min(size_, (offset + part.size() + kGrain - 1) / kGrain * kGrain);
  // Advice: where it is not taken, more memory is used and nothing is wrong.
  ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

void MappedFile::read_ahead(std::span<const std::byte> part) const {
  if (part.empty()) return;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const auto offset = static_cast<size_t>(part.data() - data_);
  const size_t begin = offset / page * page;
  ::madvise(const_cast<std::byte*>(data_) + begin, offset + part.size() - begin, MADV_WILLNEED);
}

Result<std::string> read_text_file(const std::filesystem::path& path, size_t max_bytes) {
  TETRAD_ASSIGN(const OpenedFile opened, open_regular(path));
  const Descriptor descriptor(opened.fd);
  if (opened.size > max_bytes) {
    return fail(ErrorCode::resource_exhausted, "{} has {} bytes, more than the {} allowed",
                path.string(), opened.size, max_bytes);
  }
  std::string text(opened.size, '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t got = ::read(descriptor.get(), text.data() + done, text.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error(path, "read");
    if (got == 0) break;  // the file shrank since fstat
    done += static_cast<size_t>(got);
  }
  text.resize(done);
  return text;
}

}  // namespace tetrad
