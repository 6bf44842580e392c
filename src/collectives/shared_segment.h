#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/error.h"

namespace tetrad::collectives {

/// Memory that processes of this machine share by a name, until the last has let go of it.
class SharedSegment {
 public:
  /// Zeros, with a name of its own. Errors: io, with what /dev/shm must hold.
  static Result<SharedSegment> create(size_t bytes);
  static Result<SharedSegment> open(const std::string& name, size_t bytes);
  SharedSegment(SharedSegment&& other) noexcept;
  SharedSegment& operator=(SharedSegment&& other) noexcept;
  ~SharedSegment();

  const std::string& name() const { return name_; }
  std::span<std::byte> memory() const { return memory_; }
  /// Nobody can open it any more; by who created it.
  void forget_name();

 private:
  SharedSegment() = default;
  Result<void> map(int file, size_t bytes);

  std::string name_;
  bool is_named_ = false;
  std::span<std::byte> memory_;
};

}  // namespace tetrad::collectives
