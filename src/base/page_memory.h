#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

namespace tetrad {

/// Deleter of an anonymous mapping.
struct UnmapPages {
  size_t bytes = 0;
  void operator()(std::byte* memory) const;
};

/// Memory for what is large and read again and again: pages of zeros that cost nothing until they
/// are written to, huge ones where the system gives them, so that reading does not wait for tables
/// of small ones.
class PageMemory {
 public:
  PageMemory() = default;
  /// Nothing, with errno, where the system refuses.
  static std::optional<PageMemory> allocate(int64_t bytes);

  std::byte* data() const { return pages_.get(); }
  int64_t size() const { return static_cast<int64_t>(pages_.get_deleter().bytes); }

 private:
  std::unique_ptr<std::byte[], UnmapPages> pages_;
};

}  // namespace tetrad
