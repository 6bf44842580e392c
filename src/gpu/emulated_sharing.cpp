#include "gpu/emulated_sharing.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/system_error.h"

namespace tetrad::gpu {

struct EmulatedSharing::Mapping {
  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (memory != MAP_FAILED) munmap(memory, bytes);
    if (file >= 0) close(file);
  }
  Result<DeviceAddress> map(const std::string& what) {
    memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) return system_error(what, "map");
    return reinterpret_cast<DeviceAddress>(memory);
  }

  int file = -1;
  size_t bytes = 0;
  void* memory = MAP_FAILED;
};

namespace {

/// What the emulation's handles say.
struct SharedFile {
  int64_t process;
  int64_t file;
  uint64_t bytes;
};
static_assert(sizeof(SharedFile) <= sizeof(MemoryHandle));

}  // namespace

EmulatedSharing::EmulatedSharing() = default;
EmulatedSharing::~EmulatedSharing() = default;

Result<DeviceAddress> EmulatedSharing::allocate_shared(int64_t bytes) {
  auto mapping = std::make_unique<Mapping>();
  mapping->bytes = static_cast<size_t>(std::max<int64_t>(bytes, 1));
  mapping->file = memfd_create("tetrad-emulated-gpu", MFD_CLOEXEC);
  if (mapping->file < 0) return system_error("memory of the emulated GPU", "create");
  if (ftruncate(mapping->file, static_cast<off_t>(mapping->bytes)) != 0)
    return system_error("memory of the emulated GPU", "enlarge");
  TETRAD_ASSIGN(const DeviceAddress address, mapping->map("memory of the emulated GPU"));
  // As all memory that was never written: NaNs.
  std::memset(mapping->memory, 0xFF, mapping->bytes);
  mappings_.emplace(address, std::move(mapping));
  return address;
}

Result<MemoryHandle> EmulatedSharing::export_memory(DeviceAddress shared) {
  const auto found = mappings_.find(shared);
  if (found == mappings_.end())
    return fail(ErrorCode::invalid_argument, "export_memory: not of allocate_shared");
  const SharedFile file{getpid(), found->second->file, found->second->bytes};
  MemoryHandle handle{};
  std::memcpy(handle.bytes.data(), &file, sizeof file);
  return handle;
}

Result<DeviceAddress> EmulatedSharing::open_memory(const MemoryHandle& handle) {
  SharedFile file{};
  std::memcpy(&file, handle.bytes.data(), sizeof file);
  // As the drivers do.
  if (file.process == getpid())
    return fail(ErrorCode::unsupported, "memory of this process is not opened by its handle");
  const std::string path = fmt::format("/proc/{}/fd/{}", file.process, file.file);
  auto mapping = std::make_unique<Mapping>();
  mapping->bytes = file.bytes;
  mapping->file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (mapping->file < 0) return system_error(path, "open");
  TETRAD_ASSIGN(const DeviceAddress address, mapping->map(path));
  mappings_.emplace(address, std::move(mapping));
  return address;
}

// All emulated GPUs of a process have its memory.
Result<void> EmulatedSharing::enable_peer_access(int) {
  return {};
}

Result<DeviceAddress> EmulatedSharing::map_host_memory(std::span<std::byte> memory) {
  return reinterpret_cast<DeviceAddress>(memory.data());
}

bool EmulatedSharing::free(DeviceAddress address) {
  return mappings_.erase(address) > 0;
}

}  // namespace tetrad::gpu
