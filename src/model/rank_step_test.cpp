#include "model/rank_step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>

namespace tetrad {
namespace {

using testing::HasSubstr;

const RankStepLimits kAgreed{.vocab_size = 100,
                             .max_model_len = 64,
                             .max_num_seqs = 4,
                             .max_num_batched_tokens = 40,
                             .num_kv_blocks = 9};

/// Two sequences: one of 20 tokens behind 3 others, one that gets a token behind 40.
struct TwoSequences {
  std::vector<int32_t> ids;
  std::vector<int32_t> positions;
  std::vector<int64_t> slots;
  std::vector<int32_t> first_table{4, 7};
  std::vector<int32_t> second_table{0, 8, 2, 5};  // one more than is used
  std::vector<SequenceSlice> sequences;
  std::vector<int32_t> rows{18, 19, 20};
  std::vector<LogitsUse> uses{{}, {.is_whole = false, .temperature = 0.5f}, {.is_whole = false}};

  TwoSequences() {
    for (int32_t i = 0; i < 21; ++i)
      ids.push_back(99 - i);
    for (int32_t position = 3; position < 23; ++position)
      positions.push_back(position);
    positions.push_back(40);
    for (const int32_t position : positions) {
      const auto& table = position == 40 ? second_table : first_table;
      slots.push_back(table[static_cast<size_t>(position / 16)] * 16 + position % 16);
    }
    sequences = {
        {.query_start = 0, .query_len = 20, .context_len = 3, .block_table = first_table},
        {.query_start = 20, .query_len = 1, .context_len = 40, .block_table = second_table}};
  }
  Batch batch() const { return {ids, positions, slots, sequences, rows}; }
};

std::vector<std::byte> encoded(const TwoSequences& step) {
  std::vector<std::byte> bytes;
  EXPECT_TRUE(encode_step(step.batch(), step.uses, kAgreed, bytes));
  return bytes;
}

template <class T>
std::vector<T> values(std::span<const T> span) {
  return {span.begin(), span.end()};
}

TEST(RankStep, ComesBackAsItWas) {
  const TwoSequences sent;
  RankStep step;
  const auto bytes = encoded(sent);
  EXPECT_LE(bytes.size(), kAgreed.max_bytes());
  ASSERT_TRUE(step.decode(bytes, kAgreed));
  const Batch got = step.batch();
  EXPECT_EQ(values(got.token_ids), sent.ids);
  EXPECT_EQ(values(got.positions), sent.positions);
  EXPECT_EQ(values(got.slot_mapping), sent.slots);
  EXPECT_EQ(values(got.logits_rows), sent.rows);
  ASSERT_EQ(got.sequences.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(got.sequences[i].query_start, sent.sequences[i].query_start);
    EXPECT_EQ(got.sequences[i].query_len, sent.sequences[i].query_len);
    EXPECT_EQ(got.sequences[i].context_len, sent.sequences[i].context_len);
  }
  EXPECT_EQ(values(got.sequences[1].block_table), (std::vector<int32_t>{0, 8, 2}));
  ASSERT_EQ(step.uses().size(), 3u);
  EXPECT_TRUE(step.uses()[0].is_whole);
  EXPECT_FALSE(step.uses()[1].is_whole);
  EXPECT_EQ(step.uses()[1].temperature, 0.5f);
  EXPECT_FALSE(step.uses()[2].is_whole);
  EXPECT_EQ(step.uses()[2].temperature, 0.0f);
}

TEST(RankStep, WithoutUsesAsksForWholeRows) {
  const TwoSequences sent;
  std::vector<std::byte> bytes;
  ASSERT_TRUE(encode_step(sent.batch(), {}, kAgreed, bytes));
  RankStep step;
  ASSERT_TRUE(step.decode(bytes, kAgreed));
  EXPECT_TRUE(std::ranges::all_of(step.uses(), &LogitsUse::is_whole));
  EXPECT_EQ(step.uses().size(), 3u);
}

TEST(RankStep, ThatNobodyMadeRoomForIsNotSent) {
  const TwoSequences sent;
  std::vector<std::byte> bytes;
  RankStepLimits less = kAgreed;
  less.max_num_batched_tokens = 20;
  EXPECT_FALSE(encode_step(sent.batch(), sent.uses, less, bytes));
  less = kAgreed;
  less.max_num_seqs = 1;
  EXPECT_FALSE(encode_step(sent.batch(), sent.uses, less, bytes));
  TwoSequences other;
  other.slots[5] += 1;
  EXPECT_FALSE(encode_step(other.batch(), other.uses, kAgreed, bytes)) << "not that of its block";
  TwoSequences moved;
  moved.positions[20] = 41;
  EXPECT_FALSE(encode_step(moved.batch(), moved.uses, kAgreed, bytes));
}

/// What decode() says of a step in which number `place` is `value`.
template <class T>
std::string said_to(size_t place, T value) {
  std::vector<std::byte> bytes = encoded(TwoSequences());
  std::memcpy(bytes.data() + place * sizeof value, &value, sizeof value);
  RankStep step;
  const auto decoded = step.decode(bytes, kAgreed);
  return decoded ? "" : decoded.error().message;
}

TEST(RankStep, OfWrongNumbersIsRefused) {
  constexpr size_t kIds = 4;
  constexpr size_t kSizes = kIds + 21;
  constexpr size_t kBlocks = kSizes + 6;
  constexpr size_t kRows = kBlocks + 5;
  constexpr size_t kUses = kRows + 3;
  EXPECT_THAT(said_to<uint32_t>(0, 41), HasSubstr("41 tokens"));
  EXPECT_THAT(said_to<uint32_t>(0, 0), HasSubstr("0 tokens"));
  EXPECT_THAT(said_to<uint32_t>(0, 20), HasSubstr("counts need"));
  EXPECT_THAT(said_to<uint32_t>(1, 5), HasSubstr("of 5 sequences"));
  EXPECT_THAT(said_to<uint32_t>(2, 0x7fffffff), HasSubstr("counts need"));
  EXPECT_THAT(said_to<uint32_t>(2, 0xffffffff), HasSubstr("counts need"));
  EXPECT_THAT(said_to<uint32_t>(3, 22), HasSubstr("22 rows"));
  EXPECT_THAT(said_to<int32_t>(kIds, 100), HasSubstr("the token 100"));
  EXPECT_THAT(said_to<int32_t>(kIds + 20, -1), HasSubstr("the token -1"));
  EXPECT_THAT(said_to<int32_t>(kSizes, 0), HasSubstr("a sequence of 0 tokens"));
  EXPECT_THAT(said_to<int32_t>(kSizes, 22), HasSubstr("a sequence of 22 tokens"));
  EXPECT_THAT(said_to<int32_t>(kSizes, -5), HasSubstr("a sequence of -5 tokens"));
  EXPECT_THAT(said_to<int32_t>(kSizes + 1, -1), HasSubstr("behind -1 others"));
  EXPECT_THAT(said_to<int32_t>(kSizes + 1, 45), HasSubstr("behind 45 others"));
  EXPECT_THAT(said_to<int32_t>(kSizes + 2, 3), HasSubstr("in 3 blocks"));
  EXPECT_THAT(said_to<int32_t>(kSizes + 4, 30), HasSubstr("in 3 blocks"));
  EXPECT_THAT(said_to<int32_t>(kBlocks, 9), HasSubstr("block 9 of 9"));
  EXPECT_THAT(said_to<int32_t>(kBlocks + 4, -1), HasSubstr("block -1 of 9"));
  EXPECT_THAT(said_to<int32_t>(kRows, -1), HasSubstr("row -1"));
  EXPECT_THAT(said_to<int32_t>(kRows, 19), HasSubstr("row 19")) << "twice";
  EXPECT_THAT(said_to<int32_t>(kRows + 2, 21), HasSubstr("row 21"));
  EXPECT_THAT(said_to<float>(kUses, std::numeric_limits<float>::quiet_NaN()),
              HasSubstr("temperature"));
  EXPECT_THAT(said_to<float>(kUses, std::numeric_limits<float>::infinity()),
              HasSubstr("temperature"));
}

TEST(RankStep, OfAnotherLengthIsRefused) {
  const std::vector<std::byte> bytes = encoded(TwoSequences());
  RankStep step;
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(step.decode(std::span(bytes).first(size), kAgreed)) << size << " bytes";
  std::vector<std::byte> longer = bytes;
  longer.push_back({});
  EXPECT_FALSE(step.decode(longer, kAgreed));
}

TEST(RankStart, ComesBackAsItWas) {
  const RankStart sent{.limits = {.max_model_len = 4096,
                                  .max_num_seqs = 48,
                                  .max_num_batched_tokens = 2048,
                                  .one_sequence = true},
                       .memory = {.bytes = int64_t{1} << 35, .utilization = 0.25}};
  const auto got = RankStart::decode(sent.encode(), 4096);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->encode(), sent.encode());
  EXPECT_EQ(got->memory.utilization, 0.25);
  EXPECT_FALSE(RankStart::decode(sent.encode(), 4095)) << "longer than the model's positions";
  const auto changed = [&](auto change) {
    RankStart other = sent;
    change(other);
    return RankStart::decode(other.encode(), 4096).has_value();
  };
  EXPECT_TRUE(changed([](RankStart& start) { start.memory.utilization.reset(); }));
  EXPECT_FALSE(changed([](RankStart& start) { start.limits.max_num_seqs = 0; }));
  EXPECT_FALSE(changed([](RankStart& start) { start.limits.max_num_seqs = 1 << 20; }));
  EXPECT_FALSE(changed([](RankStart& start) { start.limits.max_num_batched_tokens = -1; }));
  EXPECT_FALSE(changed([](RankStart& start) { start.memory.bytes = -1; }));
  EXPECT_FALSE(changed([](RankStart& start) { start.memory.utilization = 1.5; }));
  EXPECT_FALSE(changed([](RankStart& start) {
    start.memory.utilization = std::numeric_limits<double>::quiet_NaN();
  }));
  const std::vector<std::byte> bytes = sent.encode();
  EXPECT_FALSE(RankStart::decode(std::span(bytes).first(47), 4096));
}

}  // namespace
}  // namespace tetrad
