// Our own sums between GPUs, on the emulation: real threads that really meet.

#include "collectives/exchange_communicator.h"

#include <fmt/core.h>
#include <gmock/gmock.h>

#include <limits>
#include <string>

#include "base/sanitized_for_tests.h"
#include "collectives/gpu_ranks_for_tests.h"

namespace tetrad::collectives {
namespace {

using std::chrono::milliseconds;
using testing_ranks::Group;
using testing_ranks::on_gpu_ranks;
using testing_ranks::Rank;
using testing_ranks::sum_in_rank_order;
using testing_ranks::values_of;

constexpr int64_t kAlwaysOneShot = std::numeric_limits<int64_t>::max();
constexpr int64_t kAlwaysTwoShots = 0;
constexpr int64_t kSomeAreFew = 20'000;

std::unique_ptr<DeviceCommunicator> made(const Rank& rank, Transport transport,
                                         const CommunicatorOptions& options) {
  auto communicator = make_exchange_communicator(rank.kernels, rank.ranks, transport, options);
  EXPECT_TRUE(communicator) << communicator.error().message;
  return communicator ? std::move(*communicator) : nullptr;
}

void expect_sum(const Rank& rank, DeviceCommunicator& communicator, size_t count, uint32_t seed) {
  const DeviceAddress values = rank.copy(values_of(communicator.rank(), count, seed));
  const auto summed = communicator.all_reduce_sum(values, static_cast<int64_t>(count));
  EXPECT_TRUE(summed) << summed.error().message;
  EXPECT_TRUE(communicator.wait());
  EXPECT_EQ(rank.read(values, count), sum_in_rank_order(communicator.size(), count, seed))
      << count << " values";
  rank.device.free(values);
}

struct ExchangeCase {
  int ranks;
  Transport transport;
  int64_t one_shot_bytes;
  bool is_gfx12;
  int64_t few_bytes = 0;

  std::string name() const {
    return fmt::format("{}Ranks{}{}{}{}", ranks, transport == Transport::host ? "Host" : "Peer",
                       one_shot_bytes == kAlwaysTwoShots ? "TwoShots" : "OneShot",
                       few_bytes == 0 ? "" : "Few", is_gfx12 ? "Gfx12" : "");
  }
};

class Exchange : public testing::TestWithParam<ExchangeCase> {
 protected:
  void SetUp() override {
    if (kSanitized && GetParam().ranks == 8 && GetParam().few_bytes == 0)
      GTEST_SKIP() << "eight ranks of one case are enough for a sanitizer's time";
  }
  Group group() const { return {.size = GetParam().ranks, .is_gfx12 = GetParam().is_gfx12}; }
  std::unique_ptr<DeviceCommunicator> made_for(const Rank& rank) const {
    return made(rank, GetParam().transport,
                {.one_shot_bytes = GetParam().one_shot_bytes, .few_bytes = GetParam().few_bytes});
  }
};

// 1 KiB to 8 MiB, and what does not divide.
TEST_P(Exchange, SumsInTheOrderOfTheRanks) {
  on_gpu_ranks(group(), [&](const Rank& rank) {
    const auto communicator = made_for(rank);
    uint32_t seed = 0;
    for (const size_t count : {256u, 1u, 2u, 3072u, 5u, 1021u, 3073u, 49'152u, 100'003u})
      expect_sum(rank, *communicator, count, ++seed);
    // Of eight ranks it takes seconds: once.
    const bool is_long = GetParam().ranks < 8 || GetParam().one_shot_bytes == kAlwaysTwoShots;
    if (!kSanitized && is_long) expect_sum(rank, *communicator, (size_t{2} << 20) + 3, ++seed);
  });
}

// Two places by turns are enough, whatever the lengths.
TEST_P(Exchange, OfAlternatingLengths) {
  on_gpu_ranks(group(), [&](const Rank& rank) {
    const auto communicator = made_for(rank);
    std::mt19937 random(7);
    for (uint32_t round = 0; round < 60; ++round)
      expect_sum(rank, *communicator, round % 2 == 0 ? 3 : 1 + random() % 9000, round);
  });
}

TEST_P(Exchange, Gathers) {
  on_gpu_ranks(group(), [&](const Rank& rank) {
    const auto communicator = made_for(rank);
    const auto size = static_cast<size_t>(communicator->size());
    const auto mine_at = static_cast<size_t>(communicator->rank());
    struct Shape {
      size_t rows, cols, missing;  // of the last rank
    };
    for (const Shape shape : {Shape{1, 1, 0}, Shape{1, 4099, 0}, Shape{1, 300'001, 0},
                              Shape{7, 64, 0}, Shape{5, 1003, 2}, Shape{40, 2000, 1999}}) {
      const size_t all_cols = size * shape.cols - shape.missing;
      std::vector<float> wanted(shape.rows * all_cols);
      for (size_t r = 0; r < size; ++r) {
        const std::vector<float> part = values_of(static_cast<int>(r), shape.rows * shape.cols, 1);
        for (size_t i = 0; i < part.size(); ++i) {
          const size_t col = r * shape.cols + i % shape.cols;
          if (col < all_cols) wanted[i / shape.cols * all_cols + col] = part[i];
        }
      }
      const auto gather = [&](DeviceAddress mine, DeviceAddress all) {
        EXPECT_TRUE(communicator->all_gather(mine, static_cast<int64_t>(shape.rows),
                                             static_cast<int64_t>(shape.cols), all,
                                             static_cast<int64_t>(all_cols)));
        EXPECT_EQ(rank.read(all, wanted.size()), wanted) << shape.rows << " x " << shape.cols;
      };
      const DeviceAddress mine =
          rank.copy(values_of(communicator->rank(), shape.rows * shape.cols, 1));
      const DeviceAddress all = rank.copy(std::vector<float>(wanted.size()));
      gather(mine, all);
      // A row may stand where it comes to.
      if (shape.rows == 1) gather(all + mine_at * shape.cols * 4, all);
      rank.device.free(mine);
      rank.device.free(all);
    }
  });
}

// Launches of a graph go on counting epochs.
TEST_P(Exchange, InAGraph) {
  on_gpu_ranks(group(), [&](const Rank& rank) {
    const auto communicator = made_for(rank);
    const DeviceAddress values = rank.copy(std::vector<float>(5000, 1.0f));
    ASSERT_TRUE(rank.device.begin_graph());
    for (const int64_t count : {5000, 3, 5000, 1200})
      EXPECT_TRUE(communicator->all_reduce_sum(values, count));
    const auto graph = rank.device.end_graph().value();
    expect_sum(rank, *communicator, 700, 9);
    EXPECT_TRUE(rank.device.launch(*graph));
    expect_sum(rank, *communicator, 700, 10);
    EXPECT_TRUE(rank.device.launch(*graph));
    const auto size = static_cast<float>(communicator->size());
    const std::vector<float> got = rank.read(values, 5000);
    EXPECT_EQ(got[0], std::pow(size, 8.0f));
    EXPECT_EQ(got[1000], std::pow(size, 6.0f));
    EXPECT_EQ(got[4999], std::pow(size, 4.0f));
  });
}

TEST_P(Exchange, OfValuesThatAreNotAligned) {
  on_gpu_ranks(group(), [&](const Rank& rank) {
    const auto communicator = made_for(rank);
    const DeviceAddress values = rank.copy(values_of(communicator->rank(), 2001, 3));
    EXPECT_TRUE(communicator->all_reduce_sum(values + 4, 1999));
    const std::vector<float> got = rank.read(values, 2001);
    std::vector<float> wanted = sum_in_rank_order(communicator->size(), 2001, 3);
    const std::vector<float> own = values_of(communicator->rank(), 2001, 3);
    wanted.front() = own.front();
    wanted.back() = own.back();
    EXPECT_EQ(got, wanted);
  });
}

INSTANTIATE_TEST_SUITE_P(
    All, Exchange,
    testing::Values(ExchangeCase{2, Transport::peer, kAlwaysOneShot, false},
                    ExchangeCase{2, Transport::peer, kAlwaysOneShot, true, kSomeAreFew},
                    ExchangeCase{3, Transport::host, kAlwaysTwoShots, false, kSomeAreFew},
                    ExchangeCase{8, Transport::peer, kAlwaysTwoShots, true, kSomeAreFew},
                    ExchangeCase{2, Transport::peer, kAlwaysTwoShots, true},
                    ExchangeCase{2, Transport::host, kAlwaysOneShot, true},
                    ExchangeCase{3, Transport::peer, kAlwaysOneShot, true},
                    ExchangeCase{3, Transport::host, kAlwaysTwoShots, false},
                    ExchangeCase{4, Transport::peer, kAlwaysTwoShots, false},
                    ExchangeCase{8, Transport::peer, kAlwaysOneShot, false},
                    ExchangeCase{8, Transport::host, kAlwaysOneShot, true},
                    ExchangeCase{8, Transport::peer, kAlwaysTwoShots, false}),
    [](const auto& tested) { return tested.param.name(); });

/// A device on which so many messages were sent that epochs are about to come back.
class LateEpochs final : public gpu::ForwardingDevice {
 public:
  using ForwardingDevice::ForwardingDevice;
  Result<void> fill(DeviceAddress address, uint8_t value, int64_t bytes) override {
    if (bytes != sizeof(gpu::ExchangeState)) return ForwardingDevice::fill(address, value, bytes);
    std::ranges::fill(state_.epoch, std::numeric_limits<uint32_t>::max() - 3);
    return copy_to_device(address, &state_, bytes);
  }

 private:
  gpu::ExchangeState state_ = {};
};

// 0 stands in the memory at first, and is no epoch.
TEST(ExchangeOfFew, GoesOnWhereEpochsComeBack) {
  const Group group{.size = 2, .wrap = [](std::unique_ptr<gpu::Device> device, int) {
                      return std::make_unique<LateEpochs>(std::move(device));
                    }};
  on_gpu_ranks(group, [](const Rank& rank) {
    const auto communicator = made(rank, Transport::peer, {.few_bytes = 1 << 20});
    for (uint32_t round = 0; round < 10; ++round)
      expect_sum(rank, *communicator, 1000 + round, round);
  });
}

// What qk_squares and a sum do in two launches, in one; more tokens than it has room for are not
// its business.
TEST(ExchangeOfFew, SumsSquares) {
  constexpr uint32_t kQSize = 128;
  constexpr uint32_t kKvSize = 64;
  constexpr uint32_t kTokens = 21;
  on_gpu_ranks({.size = 3}, [](const Rank& rank) {
    const auto communicator = made(rank, Transport::peer, {});
    const DeviceAddress sums = rank.copy(
        values_of(communicator->rank(), size_t{kTokens} * (kQSize + 2 * kKvSize) / 16, 1));
    const DeviceAddress squares = rank.copy(std::vector<float>(2 * kTokens));
    const gpu::QkSquaresArgs args{.square_sums = reinterpret_cast<const float*>(sums),
                                  .q_size = kQSize,
                                  .kv_size = kKvSize,
                                  // Two ranks have the same KV heads.
                                  .counts_k = communicator->rank() == 2 ? 0u : 1u,
                                  .squares = reinterpret_cast<float*>(squares)};
    rank.kernels.qk_squares(args, kTokens);
    EXPECT_TRUE(communicator->all_reduce_sum(squares, 2 * kTokens));
    const std::vector<float> wanted = rank.read(squares, 2 * kTokens);
    EXPECT_TRUE(rank.device.fill(squares, 0, 8 * kTokens));
    EXPECT_EQ(communicator->try_all_reduce_qk_squares(args, kTokens).value(), true);
    EXPECT_EQ(rank.read(squares, 2 * kTokens), wanted);
    constexpr uint32_t kMostTokens = gpu::kExchangeBlocks * gpu::kSquaresBlockTokens;
    EXPECT_EQ(communicator->try_all_reduce_qk_squares(args, kMostTokens + 1).value(), false);
    EXPECT_TRUE(communicator->wait());
  });
}

// Whoever of a block's threads comes first.
TEST(ExchangeOrder, DecidesNothing) {
  for (const auto order : {gpu::ThreadOrder::descending, gpu::ThreadOrder::shuffled}) {
    on_gpu_ranks({.size = 4, .order = order}, [&](const Rank& rank) {
      struct Way {
        int64_t one_shot;
        int64_t few;
      };
      for (const auto [one_shot, few] :
           {Way{kAlwaysOneShot, 0}, Way{kAlwaysTwoShots, 0}, Way{kAlwaysTwoShots, kSomeAreFew}}) {
        const auto communicator =
            made(rank, Transport::peer, {.one_shot_bytes = one_shot, .few_bytes = few});
        for (uint32_t round = 0; round < 10; ++round)
          expect_sum(rank, *communicator, 1 + round * 700, round);
      }
    });
  }
}

TEST(ExchangeDeadline, NamesWhoDidNotComeAndIsWaitedForOnce) {
  constexpr milliseconds kShort{300};
  struct Way {
    Transport transport;
    int64_t few;
  };
  for (const auto [transport, few] :
       {Way{Transport::peer, 0}, Way{Transport::host, 0}, Way{Transport::peer, 100'000},
        Way{Transport::host, 100'000}}) {
    on_gpu_ranks({.size = 3}, [&](const Rank& rank) {
      const auto communicator = made(rank, transport, {.deadline = kShort, .few_bytes = few});
      expect_sum(rank, *communicator, 1000, 1);
      if (communicator->rank() == 1) return;  // its end waits for the others' ends
      const DeviceAddress values = rank.copy(std::vector<float>(20'000, 1.0f));
      const auto begin = std::chrono::steady_clock::now();
      // 20 blocks, which wait one after the other on the emulation: the first alone does.
      for (int i = 0; i < 50; ++i)
        EXPECT_TRUE(communicator->all_reduce_sum(values, 20'000));
      EXPECT_LT(std::chrono::steady_clock::now() - begin, 20 * kShort);
      for (int again = 0; again < 2; ++again) {
        const auto checked = communicator->wait();
        ASSERT_FALSE(checked);
        EXPECT_EQ(checked.error().code, ErrorCode::io);
        EXPECT_EQ(checked.error().message,
                  fmt::format("rank 1 of 3 did not come to a message over {} memory within 300 ms",
                              transport == Transport::host ? "host" : "peer"));
      }
      // Nothing was added.
      EXPECT_EQ(rank.read(values, 20'000), std::vector<float>(20'000, 1.0f));
    });
  }
}

TEST(ExchangeOfOneRank, AsksNobody) {
  on_gpu_ranks({.size = 1}, [](const Rank& rank) {
    const auto communicator = made(rank, Transport::peer, {});
    EXPECT_EQ(communicator->name(), "one rank");
    expect_sum(rank, *communicator, 1000, 1);
    const DeviceAddress mine = rank.copy(values_of(0, 1001, 2));
    const DeviceAddress all = rank.copy(std::vector<float>(1001));
    EXPECT_TRUE(communicator->all_gather(mine, 1, 1001, all, 1001));
    EXPECT_EQ(rank.read(all, 1001), values_of(0, 1001, 2));
  });
}

TEST(ExchangeOfTooManyRanks, IsRefused) {
  on_gpu_ranks({.size = 9}, [](const Rank& rank) {
    const auto refused = make_exchange_communicator(rank.kernels, rank.ranks, Transport::peer, {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message, "9 ranks: memory carries messages between at most 8");
  });
}

}  // namespace
}  // namespace tetrad::collectives
