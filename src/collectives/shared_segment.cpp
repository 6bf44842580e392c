#include "collectives/shared_segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <random>
#include <utility>

#include "base/system_error.h"

namespace tetrad::collectives {

Result<SharedSegment> SharedSegment::create(size_t bytes) {
  std::random_device random;
  SharedSegment segment;
  segment.name_ = fmt::format("/tetrad-{:08x}{:08x}", random(), random());
  const int file = shm_open(segment.name_.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
  if (file < 0) return system_error(segment.name_, "create shared memory");
  segment.is_named_ = true;
  // Not ftruncate alone: what /dev/shm has no room for would be a signal later.
  if (const int refused = posix_fallocate(file, 0, static_cast<off_t>(bytes)); refused != 0) {
    close(file);
    return fail(ErrorCode::io, "/dev/shm has no room for {} bytes (in containers: --shm-size): {}",
                bytes, std::strerror(refused));
  }
  TETRAD_TRY(segment.map(file, bytes));
  return segment;
}

Result<SharedSegment> SharedSegment::open(const std::string& name, size_t bytes) {
  SharedSegment segment;
  segment.name_ = name;
  const int file = shm_open(name.c_str(), O_RDWR, 0);
  if (file < 0) return system_error(name, "open shared memory");
  TETRAD_TRY(segment.map(file, bytes));
  return segment;
}

Result<void> SharedSegment::map(int file, size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return system_error(name_, "map shared memory");
  memory_ = {static_cast<std::byte*>(memory), bytes};
  return {};
}

SharedSegment::SharedSegment(SharedSegment&& other) noexcept {
  *this = std::move(other);
}

SharedSegment& SharedSegment::operator=(SharedSegment&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(is_named_, other.is_named_);
  std::swap(memory_, other.memory_);
  return *this;
}

SharedSegment::~SharedSegment() {
  forget_name();
  if (!memory_.empty()) munmap(memory_.data(), memory_.size());
}

void SharedSegment::forget_name() {
  if (std::exchange(is_named_, false)) shm_unlink(name_.c_str());
}

}  // namespace tetrad::collectives
