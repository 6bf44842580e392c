// Which transport is taken, and what one is told of those that are not.

#include "collectives/device_communicator.h"

#include <gmock/gmock.h>

#include <memory>
#include <string>
#include <utility>

#include "collectives/gpu_ranks_for_tests.h"
#include "collectives/rank_place.h"
#include "collectives/trial.h"
#include "parallel/forwarding_communicator_for_tests.h"

namespace tetrad::collectives {
namespace {

using gpu::MemorySharing;
using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;
using testing_ranks::Group;
using testing_ranks::on_gpu_ranks;
using testing_ranks::Rank;

/// A device whose memory is shared in another way.
class OtherSharing final : public gpu::ForwardingDevice, public MemorySharing {
 public:
  struct Faults {
    bool refuses_peers = false;
    /// Host memory that each process maps to something of its own.
    bool has_own_host_memory = false;
  };
  OtherSharing(std::unique_ptr<gpu::Device> device, Faults faults)
      : ForwardingDevice(std::move(device)), faults_(faults) {}

  MemorySharing& sharing() override { return *this; }
  Result<DeviceAddress> allocate_shared(int64_t bytes) override {
    return real().allocate_shared(bytes);
  }
  Result<gpu::MemoryHandle> export_memory(DeviceAddress shared) override {
    return real().export_memory(shared);
  }
  Result<DeviceAddress> open_memory(const gpu::MemoryHandle& handle) override {
    return real().open_memory(handle);
  }
  void close_memory(DeviceAddress opened) override { real().close_memory(opened); }
  Result<void> enable_peer_access(int index) override {
    if (faults_.refuses_peers) return fail(ErrorCode::unsupported, "no link to GPU {}", index);
    return real().enable_peer_access(index);
  }
  Result<DeviceAddress> map_host_memory(std::span<std::byte> memory) override {
    if (!faults_.has_own_host_memory) return real().map_host_memory(memory);
    TETRAD_ASSIGN(const DeviceAddress own, allocate(static_cast<int64_t>(memory.size())));
    TETRAD_TRY(fill(own, 0, static_cast<int64_t>(memory.size())));
    return own;
  }
  void unmap_host_memory(std::byte* memory) override { real().unmap_host_memory(memory); }

 private:
  MemorySharing& real() { return ForwardingDevice::sharing(); }
  Faults faults_;
};

/// A group of two whose rank 1 has faults.
Group with_faults(OtherSharing::Faults faults) {
  return {.wrap = [faults](std::unique_ptr<gpu::Device> device,
                           int rank) -> std::unique_ptr<gpu::Device> {
    if (rank == 0) return device;
    return std::make_unique<OtherSharing>(std::move(device), faults);
  }};
}

/// The name of what was taken and why, or the error, alike on all ranks.
void expect_taken(const Group& group, Transport transport, const auto& matcher,
                  milliseconds deadline = milliseconds(10'000)) {
  on_gpu_ranks(group, [&](const Rank& rank) {
    const auto made = make_device_communicator(rank.kernels, rank.ranks,
                                               {.transport = transport, .deadline = deadline});
    const std::string told =
        made ? fmt::format("{}|{}", made->communicator->name(), made->reason)
             : fmt::format("{}: {}", static_cast<int>(made.error().code), made.error().message);
    EXPECT_THAT(told, matcher);
  });
}

TEST(TransportChoice, IsPeerMemoryWhereItWorks) {
  expect_taken({.size = 3}, Transport::automatic, "peer memory|");
  expect_taken({.size = 1}, Transport::automatic, "one rank|");
  expect_taken({.size = 2}, Transport::host, "host memory|");
}

TEST(TransportChoice, IsNotPeerMemoryOnGfx12UnlessAskedFor) {
  expect_taken({.is_gfx12 = true}, Transport::automatic,
               "host memory|peer memory is not tried on gfx12, where it may hang the machine");
  expect_taken({.is_gfx12 = true}, Transport::peer, "peer memory|");
  expect_taken({.size = 1, .is_gfx12 = true}, Transport::automatic, "one rank|");
}

TEST(TransportChoice, IsTheNextWhereOneRankHasNot) {
  const Group group = with_faults({.refuses_peers = true});
  expect_taken(group, Transport::automatic, "host memory|peer: rank 1: no link to GPU 0");
  expect_taken(group, Transport::peer,
               AllOf(testing::StartsWith(fmt::format("{}", int(ErrorCode::unsupported))),
                     HasSubstr("nothing carries messages between the GPUs: peer: rank 1: no link "
                               "to GPU 0")));
}

TEST(TransportChoice, IsTriedBeforeItIsTaken) {
  // It says that it is shared, and is not.
  expect_taken(with_faults({.refuses_peers = true, .has_own_host_memory = true}),
               Transport::automatic,
               AllOf(HasSubstr("peer: rank 1: no link to GPU 0; host: rank "),
                     HasSubstr("did not come to a message over host memory within 200 ms"),
                     HasSubstr("nccl: neither NCCL nor RCCL is for this GPU (emulated)")),
               milliseconds(200));
}

/// Carries what gathers places as if each rank were on a machine of its own.
class Machines final : public parallel::ForwardingCommunicator {
 public:
  /// `ranks` must outlive this.
  explicit Machines(parallel::Communicator& ranks)
      : ForwardingCommunicator(
            std::shared_ptr<parallel::Communicator>(std::shared_ptr<void>(), &ranks)) {}
  Result<void> all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    TETRAD_TRY(ForwardingCommunicator::all_gather(mine, all));
    if (mine.size() != sizeof(RankPlace)) return {};
    for (int rank = 0; rank < size(); ++rank)
      all[static_cast<size_t>(rank) * mine.size()] = static_cast<std::byte>('a' + rank);
    return {};
  }
};

TEST(TransportChoice, KnowsThatMachinesShareNoMemory) {
  on_gpu_ranks({.size = 2}, [](const Rank& rank) {
    Machines machines(rank.ranks);
    for (const Transport transport : {Transport::peer, Transport::host}) {
      const auto made = make_device_communicator(rank.kernels, machines, {.transport = transport});
      ASSERT_FALSE(made);
      EXPECT_THAT(made.error().message,
                  HasSubstr("ranks 0 and 1 are on two machines, between which NCCL carries"));
    }
  });
}

/// Says what it did and does something else.
class WrongSums final : public DeviceCommunicator {
 public:
  WrongSums(DeviceCommunicator& real, gpu::Device& device) : real_(real), device_(device) {}
  int rank() const override { return real_.rank(); }
  int size() const override { return real_.size(); }
  std::string_view name() const override { return "wrong"; }
  bool adds_in_rank_order() const override { return true; }
  Result<void> all_reduce_sum(DeviceAddress values, int64_t count) override {
    TETRAD_TRY(real_.all_reduce_sum(values, count));
    // One value of many, on one rank.
    if (rank() != 1 || count < 3072) return {};
    return device_.fill(values + 4 * 3071, 0, 4);
  }
  Result<void> all_gather(DeviceAddress mine, int64_t rows, int64_t cols, DeviceAddress all,
                          int64_t all_cols) override {
    return real_.all_gather(mine, rows, cols, all, all_cols);
  }
  Result<void> wait() override { return real_.wait(); }
  void give_up() override { real_.give_up(); }

 private:
  DeviceCommunicator& real_;
  gpu::Device& device_;
};

TEST(TransportTrial, NoticesOneWrongValue) {
  on_gpu_ranks({.size = 2}, [](const Rank& rank) {
    auto made = make_device_communicator(rank.kernels, rank.ranks, {}).value();
    EXPECT_TRUE(try_out(*made.communicator, rank.device, rank.ranks));
    WrongSums wrong(*made.communicator, rank.device);
    const auto tried = try_out(wrong, rank.device, rank.ranks);
    ASSERT_FALSE(tried);
    EXPECT_THAT(tried.error().message,
                HasSubstr("rank 1: value 3071 of 3072 of a sum was 0, not "));
  });
}

TEST(TransportNames, AreReadAndWritten) {
  for (const char* name : {"auto", "peer", "host", "nccl"})
    EXPECT_EQ(transport_name(parse_transport(name).value()), name);
  const auto unknown = parse_transport("mpi");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().message, "'mpi' is none of auto, peer, host and nccl");
}

}  // namespace
}  // namespace tetrad::collectives
