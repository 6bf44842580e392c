#include "collectives/rank_memory.h"

#include <array>
#include <optional>
#include <string>

#include "collectives/rank_place.h"
#include "collectives/shared_segment.h"
#include "parallel/agreement.h"

namespace tetrad::collectives {
namespace {

using gpu::Device;
using gpu::DeviceAddress;
using parallel::Communicator;

class DeviceRankMemory final : public RankMemory {
 public:
  DeviceRankMemory(Device& device, Communicator& ranks) : device_(device), ranks_(ranks) {}
  DeviceRankMemory(const DeviceRankMemory&) = delete;
  DeviceRankMemory& operator=(const DeviceRankMemory&) = delete;
  ~DeviceRankMemory() override {
    static_cast<void>(device_.synchronize());
    // The kernels of all ranks are done with it, also after an error.
    bool is_unused = ranks_.wait_for_parting();
    for (const DeviceAddress opened : opened_)
      device_.sharing().close_memory(opened);
    // A driver that frees what another process has open does so at its own risk.
    is_unused = is_unused && ranks_.wait_for_parting();
    if (is_unused) device_.free(own_);
  }

  Result<void> allocate(int64_t bytes) {
    TETRAD_ASSIGN(own_, device_.sharing().allocate_shared(bytes));
    TETRAD_TRY(device_.fill(own_, 0, bytes));
    return device_.synchronize();
  }

  /// What a rank tells of its memory.
  struct Offer {
    DeviceAddress address = 0;      // for its own process
    gpu::MemoryHandle handle = {};  // for others
  };
  Result<Offer> offer(bool to_processes) {
    Offer offer{.address = own_};
    if (to_processes) {
      TETRAD_ASSIGN(offer.handle, device_.sharing().export_memory(own_));
    }
    return offer;
  }
  /// Appends the address here of what the rank at `place` offers.
  Result<void> take(const Offer& offer, const RankPlace& place, const RankPlace& mine) {
    DeviceAddress address = offer.address;
    if (place.is_same_process(mine)) {
      TETRAD_TRY(device_.sharing().enable_peer_access(place.device));
    } else {
      auto opened = device_.sharing().open_memory(offer.handle);
      if (!opened)
        return tl::unexpected(
            std::move(opened.error()).in(fmt::format("memory of {}", place.gpu_name.data())));
      address = *opened;
      opened_.push_back(address);
    }
    addresses_.push_back(address);
    return {};
  }

 private:
  Device& device_;
  Communicator& ranks_;
  DeviceAddress own_ = 0;
  std::vector<DeviceAddress> opened_;
};

class HostRankMemory final : public RankMemory {
 public:
  explicit HostRankMemory(Device& device) : device_(device) {}
  HostRankMemory(const HostRankMemory&) = delete;
  HostRankMemory& operator=(const HostRankMemory&) = delete;
  ~HostRankMemory() override {
    // Others have it mapped for themselves.
    static_cast<void>(device_.synchronize());
    for (const SharedSegment& segment : segments_)
      device_.sharing().unmap_host_memory(segment.memory().data());
  }

  using Name = std::array<char, 64>;
  Result<Name> create(int64_t bytes) {
    auto created = SharedSegment::create(static_cast<size_t>(bytes));
    if (!created) return tl::unexpected(std::move(created.error()));
    own_.emplace(std::move(*created));
    Name name{};
    own_->name().copy(name.data(), name.size() - 1);
    return name;
  }
  Result<void> take(const Name& name, bool is_own, int64_t bytes) {
    if (is_own) {
      // NOLINTNEXTLINE(bugprone-unchecked-optional-access): create() came before
      segments_.push_back(std::move(*own_));
    } else {
      auto opened = SharedSegment::open(name.data(), static_cast<size_t>(bytes));
      if (!opened)
        return fail(ErrorCode::unsupported,
                    "{}; containers must share /dev/shm (--ipc=host), or NCCL can carry the "
                    "messages",
                    opened.error().message);
      segments_.push_back(std::move(*opened));
    }
    TETRAD_ASSIGN(const DeviceAddress address,
                  device_.sharing().map_host_memory(segments_.back().memory()));
    addresses_.push_back(address);
    return {};
  }
  void forget_names() {
    for (SharedSegment& segment : segments_)
      segment.forget_name();
  }

 private:
  Device& device_;
  std::optional<SharedSegment> own_;
  std::vector<SharedSegment> segments_;
};

/// What all ranks bring, if all can; else the first one's error, on all of them.
template <class Brought>
Result<std::vector<Brought>> gather_all(Communicator& ranks, Result<Brought> mine) {
  TETRAD_TRY(agree(ranks, mine));
  std::vector<Brought> all(static_cast<size_t>(ranks.size()));
  TETRAD_TRY(parallel::all_gather_values<Brought>(ranks, std::span<const Brought>(&*mine, 1), all));
  return all;
}

}  // namespace

Result<std::unique_ptr<RankMemory>> share_device_memory(Device& device, Communicator& ranks,
                                                        int64_t bytes) {
  TETRAD_ASSIGN(const std::vector<RankPlace> places, places_on_one_machine(device, ranks));
  const RankPlace& mine = places[static_cast<size_t>(ranks.rank())];
  bool to_processes = false;
  for (const RankPlace& place : places)
    to_processes = to_processes || !place.is_same_process(mine);

  auto memory = std::make_unique<DeviceRankMemory>(device, ranks);
  auto allocated = memory->allocate(bytes);
  Result<DeviceRankMemory::Offer> offer =
      allocated ? memory->offer(to_processes) : tl::unexpected(allocated.error());
  TETRAD_ASSIGN(const auto offers, gather_all(ranks, std::move(offer)));
  Result<void> taken;
  for (size_t rank = 0; rank < offers.size() && taken; ++rank)
    taken = memory->take(offers[rank], places[rank], mine);
  TETRAD_TRY(agree(ranks, taken));
  return memory;
}

Result<std::unique_ptr<RankMemory>> share_host_memory(Device& device, Communicator& ranks,
                                                      int64_t bytes) {
  TETRAD_ASSIGN(const std::vector<RankPlace> places, places_on_one_machine(device, ranks));
  auto memory = std::make_unique<HostRankMemory>(device);
  TETRAD_ASSIGN(const auto names, gather_all(ranks, memory->create(bytes)));
  Result<void> taken;
  for (size_t rank = 0; rank < names.size() && taken; ++rank)
    taken = memory->take(names[rank], static_cast<int>(rank) == ranks.rank(), bytes);
  TETRAD_TRY(agree(ranks, taken));
  memory->forget_names();
  return memory;
}

}  // namespace tetrad::collectives
