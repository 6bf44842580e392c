// What the emulation has for kernels whose blocks wait for each other and whose copies run by
// themselves, and what it says where they do it wrong.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string_view>
#include <utility>

#include "gpu/emulated_device.h"
#include "gpu/fragment.h"

namespace tetrad::gpu {
namespace {

using testing::HasSubstr;

constexpr uint32_t kNothing = ~0u;

struct RelayArgs {
  uint32_t* words = nullptr;  // one for each block
  uint32_t first = 0;         // what block 0 was told
};
/// Each block tells the next what it was told plus 1.
TETRAD_KERNEL(relay, RelayArgs, 32) {
  if (thread_index() != 0) return;
  uint32_t mine = args.first;
  uint32_t looks = 0;
  while (block_x() > 0 && (mine = load_fresh(args.words + block_x() - 1)) == kNothing)
    look_again(looks);
  store_fresh(args.words + block_x(), mine + 1);
}

struct CopyArgs {
  const char* from = nullptr;  // 64 bytes
  uint32_t* out = nullptr;     // [2]: a word before it is waited for, and after
  uint32_t bytes = 32;
  uint32_t copies = 1;  // begun, of which
  uint32_t waited = 1;  // are waited for
};
TETRAD_KERNEL(copy_words, CopyArgs, 32) {
  auto* arrivals = reinterpret_cast<uint64_t*>(shared_memory());
  char* to = shared_memory() + 16;
  if (thread_index() == 0) init_arrivals(arrivals);
  sync_warp();
  for (uint32_t i = 0; i < args.copies; ++i) {
    if (thread_index() == 0) copy_bulk(to, args.from + i * 32, args.bytes, arrivals);
    sync_warp();
    if (thread_index() == 0) args.out[0] = *reinterpret_cast<uint32_t*>(to);
    sync_warp();
    if (i < args.waited) wait_for_arrival(arrivals, i % 2);
    sync_warp();
  }
  if (thread_index() == 0) args.out[1] = *reinterpret_cast<uint32_t*>(to);
}

struct ArrivalArgs {
  uint32_t* out = nullptr;  // what was there each time
  uint32_t rounds = 4;
  uint32_t missing = 0;  // threads that do not arrive
};
/// The first 32 threads tell the others a word, and hear from them that they have read it: all by
/// looking, without a meeting.
TETRAD_KERNEL(pass_words, ArrivalArgs, 64) {
  auto* full = reinterpret_cast<uint64_t*>(shared_memory());
  uint64_t* empty = full + 1;
  auto* word = reinterpret_cast<uint32_t*>(empty + 1);
  if (thread_index() == 0) {
    init_arrivals_of(full, 32);
    init_arrivals_of(empty, 32);
  }
  sync_block();
  for (uint32_t round = 0; round < args.rounds; ++round) {
    if (thread_index() < 32) {
      wait_for_arrival(empty, (round % 2) ^ 1);
      if (thread_index() == 31) *word = round + 1;
      if (thread_index() >= args.missing) arrive(full);
    } else {
      wait_for_arrival(full, round % 2);
      if (thread_index() == 32 + round) args.out[round] = *word;
      arrive(empty);
    }
  }
}

struct PieceArgs {
  const char* from = nullptr;  // 32 bytes, of which the 16 at from + offset are copied
  uint32_t offset = 0;
  uint32_t shared_offset = 0;
  uint32_t* out = nullptr;
};
TETRAD_KERNEL(copy_piece, PieceArgs, 32) {
  if (thread_index() != 0) return;
  char* to = shared_memory() + args.shared_offset;
  copy_16_async(to, args.from + args.offset);
  end_copy_group();
  wait_for_copy_groups<0>();
  *args.out = *reinterpret_cast<uint32_t*>(to);
}

constexpr EmulatedKernel kKernels[] = {TETRAD_EMULATED_KERNEL(relay, RelayArgs)
                                           TETRAD_EMULATED_KERNEL(copy_words, CopyArgs)
                                               TETRAD_EMULATED_KERNEL(copy_piece, PieceArgs)
                                                   TETRAD_EMULATED_KERNEL(pass_words, ArrivalArgs)};

template <class Args>
Result<void> launch(std::string_view name, const Args& args, const LaunchShape& shape,
                    ThreadOrder order = ThreadOrder::ascending) {
  const std::unique_ptr<Device> device = open_emulated_device("nvidia", kKernels, order);
  return device->launch(device->kernel(name).value(), shape, &args, sizeof args);
}

class BlocksThatMeet : public testing::TestWithParam<ThreadOrder> {};

TEST_P(BlocksThatMeet, HearOfEachOtherInAnyOrder) {
  std::array<uint32_t, 9> words;
  words.fill(kNothing);
  const auto result = launch("relay", RelayArgs{words.data(), 5},
                             {.grid_x = 9, .threads = 32, .blocks_meet = true}, GetParam());
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(words.back(), 14u);
}

TEST_P(BlocksThatMeet, WaitForWhatNobodyTellsInVain) {
  std::array<uint32_t, 3> words;
  words.fill(kNothing);
  // Block 0 tells kNothing.
  const auto result = launch("relay", RelayArgs{words.data(), kNothing - 1},
                             {.grid_x = 3, .threads = 32, .blocks_meet = true}, GetParam());
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("1 for other blocks or a copy"));
}

INSTANTIATE_TEST_SUITE_P(Orders, BlocksThatMeet,
                         testing::Values(ThreadOrder::ascending, ThreadOrder::descending,
                                         ThreadOrder::shuffled),
                         [](const auto& order) { return fmt::format("{}", order.index); });

class EmulatedArrivals : public testing::TestWithParam<ThreadOrder> {};

TEST_P(EmulatedArrivals, BeginAgainWhenAllHaveArrived) {
  std::array<uint32_t, 5> out = {};
  const auto result = launch("pass_words", ArrivalArgs{.out = out.data(), .rounds = 5},
                             {.threads = 64, .shared_bytes = 32}, GetParam());
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_THAT(out, testing::ElementsAre(1, 2, 3, 4, 5));
}

TEST_P(EmulatedArrivals, OfWhichOneIsMissingAreWaitedForInVain) {
  std::array<uint32_t, 4> out = {};
  const auto result = launch("pass_words", ArrivalArgs{.out = out.data(), .missing = 1},
                             {.threads = 64, .shared_bytes = 32}, GetParam());
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("64 for other blocks or a copy"));
}

INSTANTIATE_TEST_SUITE_P(Orders, EmulatedArrivals,
                         testing::Values(ThreadOrder::ascending, ThreadOrder::descending,
                                         ThreadOrder::shuffled),
                         [](const auto& order) { return fmt::format("{}", order.index); });

TEST(EmulatedBlocks, ThatMeetAreARow) {
  const auto result =
      launch("relay", RelayArgs{}, {.grid_y = 2, .threads = 32, .blocks_meet = true});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("a row"));
}

TEST(EmulatedBlocks, AccessSixteenBytesAtMultiplesOfSixteen) {
  alignas(16) std::array<uint32_t, 8> words = {1, 2, 3, 4, 5, 6, 7, 8};
  uint32_t out = 0;
  const LaunchShape shape{.threads = 32, .shared_bytes = 64};
  PieceArgs args{.from = reinterpret_cast<const char*>(words.data()), .offset = 16, .out = &out};
  const auto right = launch("copy_piece", args, shape);
  ASSERT_TRUE(right) << right.error().message;
  EXPECT_EQ(out, 5u);
  for (const auto& [offset, shared_offset] : {std::pair{8u, 0u}, std::pair{0u, 4u}}) {
    args.offset = offset;
    args.shared_offset = shared_offset;
    const auto wrong = launch("copy_piece", args, shape);
    ASSERT_FALSE(wrong);
    EXPECT_THAT(wrong.error().message, HasSubstr("which is no multiple of 16"));
  }
}

class EmulatedCopies : public testing::Test {
 protected:
  Result<void> copy(const CopyArgs& of) {
    CopyArgs args = of;
    args.from = from_.data();
    args.out = out_;
    return launch("copy_words", args, {.threads = 32, .shared_bytes = 16 + 64});
  }
  static std::array<char, 64> numbers() {
    std::array<char, 64> all;
    for (size_t i = 0; i < all.size(); ++i)
      all[i] = static_cast<char>(i + 1);
    return all;
  }
  alignas(16) std::array<char, 64> from_ = numbers();
  uint32_t out_[2] = {};
};

TEST_F(EmulatedCopies, AreThereWhenWaitedForAndNotBefore) {
  const auto result = copy({});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(out_[0], 0xFFFFFFFFu);
  EXPECT_EQ(out_[1], 0x04030201u);
}

TEST_F(EmulatedCopies, FollowOneAnother) {
  const auto result = copy({.copies = 2, .waited = 2});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(out_[0], 0xFFFFFFFFu);
  EXPECT_EQ(out_[1], 0x24232221u);
}

TEST_F(EmulatedCopies, ThatOutliveTheirBlockAreAnError) {
  const auto result = copy({.waited = 0});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("on their way"));
}

TEST_F(EmulatedCopies, TwoToOnePlaceAreAnError) {
  const auto result = copy({.copies = 2, .waited = 0});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("still to be waited for"));
}

TEST_F(EmulatedCopies, OfBytesThatDoNotMakeSixteenAreAnError) {
  const auto result = copy({.bytes = 24});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("24 bytes"));
}

}  // namespace
}  // namespace tetrad::gpu
