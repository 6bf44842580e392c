#include "gpu/driver_sharing.h"

#include <array>

#include "base/grouped_number.h"

namespace tetrad::gpu {
namespace {

// The drivers cut small allocations out of blocks of this size and export the whole block.
constexpr int64_t kExportedBlockBytes = int64_t{2} << 20;
// Of AMD's runtime (hipDeviceMallocUncached).
constexpr unsigned kUncachedMemory = 3;
// Of both drivers: peer access is set up as it is needed.
constexpr unsigned kLazyPeerAccess = 1;
// Of both drivers: for all contexts, and with an address for kernels.
constexpr unsigned kPortableAndMapped = 1 | 2;

}  // namespace

std::string DriverSharing::name() const {
  return info_.bus_id.empty() ? info_.name : fmt::format("{} ({})", info_.name, info_.bus_id);
}

Result<DeviceAddress> DriverSharing::allocate_shared(int64_t bytes) {
  if (bytes < 0) return fail(ErrorCode::invalid_argument, "allocate_shared: {} bytes", bytes);
  TETRAD_TRY(driver_.make_current());
  const auto size = static_cast<size_t>((bytes / kExportedBlockBytes + 1) * kExportedBlockBytes);
  DeviceAddress address = 0;
  auto allocated =
      functions().allocate_uncached.call != nullptr
          ? driver_.call(functions().allocate_uncached, &address, size, kUncachedMemory)
          : driver_.call(functions().allocate, &address, size);
  if (!allocated)
    return tl::unexpected(
        std::move(allocated.error())
            .in(fmt::format("{} bytes of GPU memory to share", grouped_number(bytes))));
  return address;
}

Result<MemoryHandle> DriverSharing::export_memory(DeviceAddress shared) {
  TETRAD_TRY(driver_.make_current());
  MemoryHandle handle{};
  auto exported = driver_.call_optional(functions().export_memory, &handle, shared);
  if (!exported)
    return fail(ErrorCode::unsupported,
                "memory of {} cannot be shared with other processes: {}; host memory or NCCL can "
                "carry the messages",
                name(), exported.error().message);
  return handle;
}

Result<DeviceAddress> DriverSharing::open_memory(const MemoryHandle& handle) {
  TETRAD_TRY(driver_.make_current());
  DeviceAddress address = 0;
  auto opened = driver_.call_optional(functions().open_memory, &address, handle, kLazyPeerAccess);
  if (!opened)
    return fail(ErrorCode::unsupported,
                "{} cannot open memory of another process: {}; both processes must see both GPUs "
                "(CUDA_VISIBLE_DEVICES, HIP_VISIBLE_DEVICES), containers share the namespace of "
                "processes (--ipc=host), or host memory or NCCL can carry the messages",
                name(), opened.error().message);
  return address;
}

// Nobody is left to tell if what is taken back in the end fails.
void DriverSharing::close_memory(DeviceAddress opened) {
  if (opened == 0 || !wait_() || !driver_.make_current()) return;
  static_cast<void>(driver_.call_optional(functions().close_memory, opened));
}

Result<void> DriverSharing::enable_peer_access(int index) {
  if (index == info_.index) return {};
  TETRAD_TRY(driver_.make_current());
  TETRAD_ASSIGN(const int device, driver_.device_at(info_.index));
  TETRAD_ASSIGN(const int peer, driver_.device_at(index));
  int can = 0;
  TETRAD_TRY(driver_.call_optional(functions().can_access_peer, &can, device, peer));
  std::array<char, 32> bus_id{};
  TETRAD_TRY(driver_.call_optional(functions().device_bus_id, bus_id.data(),
                                   static_cast<int>(bus_id.size()) - 1, peer));
  const auto refused = [&](const std::string& reason) {
    return fail(ErrorCode::unsupported,
                "GPU {}, {}, cannot use memory of GPU {} ({}): {}; host memory or NCCL can carry "
                "the messages",
                info_.index, name(), index, bus_id.data(), reason);
  };
  if (can == 0)
    return refused(
        "there is neither a link nor peer-to-peer access over PCIe between them (see nvidia-smi "
        "topo -p2p r; an IOMMU or ACS may forbid it)");
  const int status = driver_.enable_peer_access(peer);
  if (status != kDriverSuccess && status != kDriverPeerAccessAlreadyEnabled)
    return refused(driver_.explain(status, "enabling peer access"));
  return {};
}

Result<DeviceAddress> DriverSharing::map_host_memory(std::span<std::byte> memory) {
  TETRAD_TRY(driver_.make_current());
  auto mapped = driver_.call_optional(functions().map_host_memory, memory.data(), memory.size(),
                                      kPortableAndMapped);
  if (!mapped)
    return tl::unexpected(
        std::move(mapped.error())
            .in(fmt::format("{} bytes of host memory for {} (see ulimit -l)",
                            grouped_number(static_cast<int64_t>(memory.size())), name())));
  DeviceAddress address = 0;
  auto found = driver_.call_optional(functions().mapped_address, &address, memory.data(), 0);
  if (found) return address;
  unmap_host_memory(memory.data());
  return tl::unexpected(std::move(found.error()));
}

void DriverSharing::unmap_host_memory(std::byte* memory) {
  if (memory == nullptr || !wait_() || !driver_.make_current()) return;
  static_cast<void>(driver_.call_optional(functions().unmap_host_memory, memory));
}

}  // namespace tetrad::gpu
