#pragma once

// What a rendering may still use up. A template cannot run for ever, recurse without end or fill
// the memory: every evaluated node, copied element and copied byte is paid for here, before the
// memory is taken.

#include <cstddef>
#include <cstdint>

#include "base/error.h"

namespace tetrad::jinja {

class Budget {
 public:
  Budget(int64_t steps, size_t max_string_bytes)
      : steps_left_(steps), max_string_bytes_(max_string_bytes) {}

  /// ErrorCode::resource_exhausted when less than `steps` are left.
  Result<void> spend(int64_t steps = 1) {
    if (steps > steps_left_) return out_of_steps();
    steps_left_ -= steps;
    return {};
  }

  /// For making, copying or scanning a string of this many bytes; refuses one over the limit.
  Result<void> spend_bytes(size_t bytes) {
    if (bytes > max_string_bytes_) return string_too_long();
    return spend(static_cast<int64_t>(bytes / kBytesPerStep));
  }

  /// For appending to a string of `size` bytes, which may not grow beyond the limit either.
  Result<void> spend_append(size_t size, size_t appended) {
    if (appended > max_string_bytes_ || size > max_string_bytes_ - appended) {
      return string_too_long();
    }
    return spend(static_cast<int64_t>(appended / kBytesPerStep));
  }

  size_t max_string_bytes() const { return max_string_bytes_; }

 private:
  static constexpr size_t kBytesPerStep = 32;

  Result<void> out_of_steps();
  Result<void> string_too_long() const;

  int64_t steps_left_;
  size_t max_string_bytes_;
};

}  // namespace tetrad::jinja
