#include "base/page_memory.h"

#include <sys/mman.h>

namespace tetrad {

void UnmapPages::operator()(std::byte* memory) const {
  ::munmap(memory, bytes);
}

std::optional<PageMemory> PageMemory::allocate(int64_t bytes) {
  const auto size = static_cast<size_t>(bytes);
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return std::nullopt;
  ::madvise(data, size, MADV_HUGEPAGE);  // slower pages without are no error
  PageMemory memory;
  memory.pages_ = {static_cast<std::byte*>(data), UnmapPages{size}};
  return memory;
}

}  // namespace tetrad
