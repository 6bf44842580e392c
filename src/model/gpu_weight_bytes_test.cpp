#include "model/gpu_weight_bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/synthetic_model.h"

namespace tetrad {
namespace {

TEST(GpuWeightBytesOfMiniMaxM2, AreWhatTheMatricesTake) {
  const ModelConfig config = synthetic_config({.layers = 62}).value();
  const GpuWeightBytes bytes = gpu_weight_bytes(config);
  // 5 bits a weight, 16 for the embeddings, 32 for the router.
  EXPECT_EQ(bytes.layer(),
            (8192 * 3072 + 3072 * 6144 + int64_t{256} * 3 * 3072 * 1536) * 5 / 8 + 256 * 3072 * 4);
  EXPECT_EQ(bytes.embeddings + bytes.head,
            int64_t{200064} * 3072 * 5 / 8 + int64_t{200064} * 3072 * 2);
  EXPECT_NEAR(static_cast<double>(bytes.total()), 143.9e9, 0.1e9);
  // A token reads 8 of the 256 experts: 6.7 GB with the head.
  const double without_head =
      62.0 * ((8192.0 * 3072 + 3072.0 * 6144 + 8.0 * 3 * 3072 * 1536) * 5 / 8 + 256 * 3072 * 4);
  EXPECT_DOUBLE_EQ(bytes.read_by_step(8, false), without_head);
  EXPECT_DOUBLE_EQ(bytes.read_by_step(8, true), without_head + 200064.0 * 3072 * 5 / 8);
}

TEST(GpuWeightBytesOfMiniMaxM2, OfAShareAreItsPart) {
  const ModelConfig config = synthetic_config({.layers = 62}).value();
  const GpuWeightBytes whole = gpu_weight_bytes(config);
  for (const bool expert_parallel : {false, true}) {
    const GpuWeightBytes part =
        gpu_weight_bytes(config, plan::rank_share(config, {4, expert_parallel}, 1));
    EXPECT_EQ(part.num_experts * part.expert * 4, whole.num_experts * whole.expert);
    EXPECT_EQ(part.num_experts, expert_parallel ? 64 : 256);
    EXPECT_EQ(part.projections * 4, whole.projections);
    EXPECT_EQ(part.router, whole.router);
    EXPECT_EQ(part.embeddings * 4, whole.embeddings);
  }
}

TEST(GpuWeightBytesOfMiniMaxM2, WhatDoesNotFitIsToldWithWhatWould) {
  const ModelConfig config = synthetic_config({.layers = 62}).value();
  const plan::RankShare whole = plan::rank_share(config, {}, 0);
  gpu::DeviceInfo info{
      .name = "NVIDIA H200", .total_bytes = 150'700'000'000, .free_bytes = 150'000'000'000};
  EXPECT_TRUE(check_gpu_weights_fit(config, whole, info));
  info.free_bytes = 80'000'000'000;
  const auto fits = check_gpu_weights_fit(config, whole, info);
  ASSERT_FALSE(fits);
  EXPECT_EQ(fits.error().code, ErrorCode::resource_exhausted);
  EXPECT_THAT(fits.error().message,
              testing::HasSubstr("the weights of 62 layers take 143.9 GB, and of the 150.7 GB of "
                                 "NVIDIA H200 80.0 are free; 34 layers would fit"));
  ModelConfig fewer = config;
  fewer.num_hidden_layers = 34;
  EXPECT_TRUE(check_gpu_weights_fit(fewer, whole, info));
  info.free_bytes = 1'000'000'000;
  EXPECT_THAT(check_gpu_weights_fit(config, whole, info).error().message,
              testing::HasSubstr("not even one layer would fit"));
}

}  // namespace
}  // namespace tetrad
