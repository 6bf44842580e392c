#include "kernels/gpu/gpu_tuning.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "kernels/gpu/decode_product.h"
#include "kernels/gpu/gpu_tuner.h"
#include "kernels/gpu/route.h"

namespace tetrad::gpu {
namespace {

using testing::HasSubstr;

std::string tuning_error(std::string_view text) {
  const auto file = GpuTuningFile::parse(text);
  EXPECT_FALSE(file) << text;
  if (file) return "";
  EXPECT_EQ(file.error().code, ErrorCode::corrupt_data) << text;
  return file.error().message;
}

TEST(GpuTuningFiles, AreReadAsTheyAreWritten) {
  GpuTuningFile file{.card = "A card \"with\" a name",
                     .driver = "CUDA 13.0",
                     .program = "0.1.0",
                     .tested = true,
                     .steps = {{"decode 1", 12.5, 11.25}, {"prefill 512", 1e6, 0}}};
  for (const GpuTuningField& field : gpu_tuning_fields())
    file.choices.*field.member = field.most;
  const auto read = GpuTuningFile::parse(to_json_text(file.to_json()));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->card, file.card);
  EXPECT_EQ(read->driver, file.driver);
  EXPECT_EQ(read->program, file.program);
  EXPECT_TRUE(read->tested);
  EXPECT_EQ(read->choices, file.choices);
  ASSERT_EQ(read->steps.size(), 2u);
  EXPECT_EQ(read->steps[0].name, "decode 1");
  EXPECT_EQ(read->steps[0].us_before, 12.5);
  EXPECT_EQ(read->steps[1].us_after, 0);
}

TEST(GpuTuningFiles, WhatAFileDoesNotNameStaysAsItIs) {
  const auto file =
      GpuTuningFile::parse(R"({"card": "X", "tested": false, "choices": {"product_blocks": 3}})");
  ASSERT_TRUE(file) << file.error().message;
  GpuTuning expected;
  expected.product_blocks = 3;
  EXPECT_EQ(file->choices, expected);
}

TEST(GpuTuningFiles, ErrorsNameTheField) {
  EXPECT_THAT(tuning_error("[]"), HasSubstr("must be a JSON object, not an array"));
  EXPECT_THAT(tuning_error(R"({"tested": true, "choices": {}})"), HasSubstr("\"card\" is missing"));
  EXPECT_THAT(tuning_error(R"({"card": "", "tested": true, "choices": {}})"),
              HasSubstr("\"card\" is empty"));
  EXPECT_THAT(tuning_error(R"({"card": "X", "choices": {}})"), HasSubstr("\"tested\" is missing"));
  EXPECT_THAT(tuning_error(R"({"card": "X", "tested": true})"),
              HasSubstr("\"choices\" is missing"));
  EXPECT_THAT(tuning_error(R"({"card": "X", "tested": true, "choices": {}, "cards": 1})"),
              HasSubstr("\"cards\" is unknown; known are card, driver"));
  EXPECT_THAT(tuning_error(R"({"card": "X", "tested": true, "choices": {"blocks": 1}})"),
              HasSubstr("\"choices.blocks\" is unknown; known are product_blocks"));
  EXPECT_THAT(tuning_error(R"({"card": "X", "tested": true, "choices": {"product_blocks": "2"}})"),
              HasSubstr("\"choices.product_blocks\" must be an integer, not a string"));
  EXPECT_THAT(
      tuning_error(R"({"card": "X", "tested": true, "choices": {}, "steps": [{"name": "a"}]})"),
      HasSubstr("\"steps[0].us_before\" is missing"));
  EXPECT_THAT(tuning_error(R"({"card": "X", "tested": true, "choices": {}, "steps": [3]})"),
              HasSubstr("\"steps[0]\" must be an object"));
}

TEST(GpuTuningFiles, EveryChoiceHasARange) {
  for (const GpuTuningField& field : gpu_tuning_fields()) {
    GpuTuningFile file{.card = "X"};
    file.choices.*field.member = field.most + 1;
    EXPECT_THAT(tuning_error(to_json_text(file.to_json())),
                HasSubstr(fmt::format("\"choices.{}\" is {}, which is not between {} and {}",
                                      field.name, field.most + 1, field.least, field.most)));
    if (field.least == 0) continue;
    file.choices.*field.member = field.least - 1;
    tuning_error(to_json_text(file.to_json()));
  }
  const auto field_of = [](uint32_t GpuTuning::* member) {
    return *std::ranges::find(gpu_tuning_fields(), member, &GpuTuningField::member);
  };
  EXPECT_EQ(field_of(&GpuTuning::max_job_tiles).most, kMaxJobTiles);
}

TEST(GpuTuningFiles, AreSaidToBeMissing) {
  const auto file = read_gpu_tuning("/not/there.json");
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error().message, HasSubstr("/not/there.json"));
}

TEST(ShippedGpuTunings, AreChosenByTheCardsName) {
  std::map<std::string, GpuTuning> by_card;
  for (const std::string_view text : shipped_gpu_tunings()) {
    const auto file = GpuTuningFile::parse(text);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_TRUE(by_card.emplace(file->card, file->choices).second) << file->card;
  }
  ASSERT_EQ(by_card.size(), 3u);
  EXPECT_EQ(gpu_tuning_of("NVIDIA H200").value(), by_card.at("NVIDIA H200"));
  EXPECT_EQ(gpu_tuning_of("NVIDIA H100 80GB HBM3").value(), by_card.at("NVIDIA H100"));
  EXPECT_EQ(gpu_tuning_of("AMD Radeon AI PRO R9700").value(),
            by_card.at("AMD Radeon AI PRO R9700"));
  EXPECT_EQ(gpu_tuning_of("NVIDIA B200").value(), GpuTuning{});
  EXPECT_EQ(gpu_tuning_of("").value(), GpuTuning{});
}

TEST(GpuTuning, StreamsExpertsOfFewTokensAndOfFewPairs) {
  const GpuTuning tuning{.decode_experts_pairs = 2, .streamed_experts_pairs = 3};
  for (const bool by_themselves : {false, true}) {
    EXPECT_TRUE(tuning.streams_experts(kFewTokens, 8, 1, by_themselves));
    EXPECT_FALSE(tuning.streams_experts(kFewTokens + 1, 8, 1, by_themselves));
  }
  EXPECT_TRUE(tuning.streams_experts(64, 8, 256, false));
  EXPECT_FALSE(tuning.streams_experts(65, 8, 256, false));
  EXPECT_TRUE(tuning.streams_experts(96, 8, 256, true));
  EXPECT_FALSE(tuning.streams_experts(97, 8, 256, true));
}

/// The choices of a made-up card, whose times follow from a rule.
class GpuTuner : public testing::Test {
 protected:
  TunerOptions options_{
      .steps = {{.num_tokens = 1}, {.num_tokens = 8}, {.num_tokens = 48}, {512, true}},
      .rounds = 3,
      .tell = [this](const TuningTrial& trial) { trials_.push_back(trial); }};
  std::vector<TuningTrial> trials_;

  const TuningTrial& trial(std::string_view choice, uint32_t value) const {
    return *std::ranges::find_if(trials_, [&](const TuningTrial& each) {
      return each.choice == choice && each.value == value;
    });
  }
};

TEST_F(GpuTuner, TakesWhatGainsMoreThanThreePercent) {
  const auto file =
      find_gpu_tuning(options_, [](const GpuTuning& tuning, const TuningStep&) -> Result<double> {
        const double by_product = tuning.product_blocks == 3   ? 0.9
                                  : tuning.product_blocks == 4 ? 0.95
                                                               : 1;
        const double by_up = tuning.experts_up_blocks == 4 ? 0.98 : 1;  // too little
        return 1e-3 * by_product * by_up;
      });
  ASSERT_TRUE(file);
  GpuTuning expected;
  expected.product_blocks = 3;
  EXPECT_EQ(file->choices, expected);
  EXPECT_TRUE(trial("product_blocks", 3).is_taken);
  EXPECT_FALSE(trial("product_blocks", 4).is_taken);
  EXPECT_NEAR(trial("product_blocks", 3).time_ratio, 0.9, 1e-9);
  EXPECT_EQ(trial("product_blocks", 3).num_steps, 2u);  // a GEMM takes 48 tokens
  EXPECT_NEAR(trial("experts_up_blocks", 4).time_ratio, 0.98, 1e-9);
  ASSERT_EQ(file->steps.size(), 4u);
  EXPECT_EQ(file->steps[3].name, "prefill 512");
  EXPECT_NEAR(file->steps[0].us_before, 1000, 1e-6);
  EXPECT_NEAR(file->steps[0].us_after, 900, 1e-6);
}

TEST_F(GpuTuner, FindsTheNumberOfTokensFromWhichAnotherKernelIsFaster) {
  // From 20 tokens on the experts' GEMM is: only the step of 48 says so.
  const auto file = find_gpu_tuning(
      options_, [](const GpuTuning& tuning, const TuningStep& step) -> Result<double> {
        const bool streams = tuning.streams_experts(step.num_tokens, 8, 256, false);
        return streams ? 1e-5 * step.num_tokens : 2e-4;
      });
  ASSERT_TRUE(file);
  // Of those that suit all steps the first.
  EXPECT_EQ(file->choices.decode_experts_pairs, 0u);
  EXPECT_EQ(trial("decode_experts_pairs", 1).num_steps, 1u);
  EXPECT_LT(file->steps[2].us_after, file->steps[2].us_before / 2);
}

TEST_F(GpuTuner, ALossInOneStepCountsAgainstAGainInAnother) {
  const auto file = find_gpu_tuning(
      options_, [](const GpuTuning& tuning, const TuningStep& step) -> Result<double> {
        if (tuning.product_blocks != 1) return 1e-3;
        return step.num_tokens == 1 ? 0.9e-3 : 1.2e-3;
      });
  ASSERT_TRUE(file);
  EXPECT_EQ(file->choices, GpuTuning{});
}

TEST_F(GpuTuner, DoesNotTimeSizesThatNoKernelOfAStepHas) {
  options_.steps.push_back({.num_tokens = 4});
  options_.least_streamed_tokens = 2;
  const auto file = find_gpu_tuning(
      options_, [](const GpuTuning&, const TuningStep&) -> Result<double> { return 1e-3; });
  ASSERT_TRUE(file);
  // Few tokens always stream, and by themselves.
  for (const std::string_view choice :
       {"decode_experts_pairs", "experts_up_blocks", "experts_down_blocks"}) {
    EXPECT_TRUE(std::ranges::none_of(trials_, [&](const TuningTrial& each) {
      return each.choice == choice;
    })) << choice;
  }
  EXPECT_EQ(trial("streamed_experts_pairs", 0).num_steps, 1u);
  EXPECT_EQ(trial("max_job_tiles", 1).num_steps, 3u);  // a product of 1, 4 and 8 has tiles, too
}

TEST_F(GpuTuner, OneSlowRunDoesNotDecide) {
  std::map<uint32_t, int> calls;
  const auto file =
      find_gpu_tuning(options_, [&](const GpuTuning& tuning, const TuningStep&) -> Result<double> {
        // Every third run is disturbed.
        return calls[tuning.gemm_block_tokens]++ % 3 == 1 ? 5e-3 : 1e-3;
      });
  ASSERT_TRUE(file);
  EXPECT_EQ(file->choices, GpuTuning{});
}

TEST_F(GpuTuner, TimesAsOftenAsItSays) {
  std::map<std::string, int64_t> times;
  ASSERT_TRUE(
      find_gpu_tuning(options_, [&](const GpuTuning&, const TuningStep& step) -> Result<double> {
        ++times[step.name()];
        return 1e-3;
      }));
  const std::vector<int64_t> counted = count_tuning_times(options_);
  for (size_t i = 0; i < options_.steps.size(); ++i)
    EXPECT_EQ(times.at(options_.steps[i].name()), counted[i]) << options_.steps[i].name();
}

TEST_F(GpuTuner, StopsAtAnError) {
  const auto file =
      find_gpu_tuning(options_, [](const GpuTuning& tuning, const TuningStep&) -> Result<double> {
        if (tuning.max_job_tiles == 1) return fail(ErrorCode::internal, "it broke");
        return 1e-3;
      });
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().message, "it broke");
}

}  // namespace
}  // namespace tetrad::gpu
