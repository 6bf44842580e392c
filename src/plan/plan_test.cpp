#include "plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/models_for_tests.h"

namespace tetrad::plan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr double kGiBytes = static_cast<double>(kGiB);

PlanRequest eight_of_32_gib() {
  return {.gpus = {.count = 8, .bytes_each = 32 * kGiB}};
}

Plan plan_of(const PlannedModel& model, const PlanRequest& request) {
  auto plan = make_plan(model, request);
  EXPECT_TRUE(plan) << plan.error().message;
  return plan ? *plan : Plan{};
}

std::vector<std::string> sentences(const Plan& plan) {
  std::vector<std::string> texts;
  texts.reserve(plan.findings.size());
  for (const Finding& finding : plan.findings)
    texts.push_back(fmt::format("{}: {}", severity_name(finding.severity), finding.text));
  return texts;
}

// The model card: 8 GPUs of 32 GiB at TP 8, 11.35 GiB of KV cache each, 767,856 tokens, 4 requests
// of 180,000, about 17.5 GiB of weights a GPU. docs/plan.md explains the differences.

TEST(ModelCard, ItsTokensTakeTheMemoryItSays) {
  PlanRequest request = eight_of_32_gib();
  request.max_model_len = 180'000;
  request.kv_cache_memory = int64_t{767'856} * 15'872;
  const Plan plan = plan_of(minimax_m2_7(), request);
  EXPECT_EQ(plan.kv.tokens(), 767'856);
  EXPECT_EQ(plan.memory.kv_cache, *request.kv_cache_memory);
  EXPECT_EQ(fmt::format("{:.2f}", static_cast<double>(plan.memory.kv_cache) / kGiBytes), "11.35");
  EXPECT_EQ(plan.kv.full_length_requests, 4);
  EXPECT_THAT(sentences(plan), IsEmpty());
}

TEST(ModelCard, ItsRoundedMemoryGivesItsTokensButForTheRounding) {
  PlanRequest request = eight_of_32_gib();
  request.max_model_len = 180'000;
  request.kv_cache_memory = *parse_byte_size("11.35GiB");
  const Plan plan = plan_of(minimax_m2_7(), request);
  EXPECT_EQ(plan.kv.dtype, DType::f8_e4m3);
  EXPECT_EQ(plan.kv.token_bytes, 15'872);
  EXPECT_EQ(plan.kv.tokens(), 767'824);  // two blocks, 0.004 %, fewer
  EXPECT_EQ(plan.kv.full_length_requests, 4);
}

TEST(ModelCard, WeightsOfAGpu) {
  const auto gib_a_gpu = [](const AssumedFormats& assumed) {
    return static_cast<double>(
               plan_of(minimax_m2_7(assumed), eight_of_32_gib()).memory.weights.total()) /
           kGiBytes;
  };
  EXPECT_NEAR(gib_a_gpu({}), 17.5, 0.035 * 17.5);
  EXPECT_NEAR(gib_a_gpu({.attention = WeightFormat::bf16}), 17.5, 0.01 * 17.5);
}

// What is not cut is on each of the eight: the router (62 · 256 · 3072 in BF16), its bias in F32,
// and the norms of the residual stream.
TEST(ModelCard, AllRanksTogetherHoldTheModelAndSevenMoreOfWhatIsNotCut) {
  const PlannedModel model = minimax_m2_7();
  const int64_t copied = 62 * (256 * 3072 * 2 + 256 * 4 + 2 * 3072 * 2) + 3072 * 2;
  EXPECT_EQ(8 * weight_memory(model, kEight).total(), model.weight_bytes() + 7 * copied);
  EXPECT_EQ(8 * weight_memory(model, kEight).total(), 145'377'923'072);
}

TEST(ModelCard, TheUtilizationLeavesAboutItsCache) {
  PlanRequest request = eight_of_32_gib();
  request.max_model_len = 180'000;
  const Plan plan = plan_of(minimax_m2_7({.attention = WeightFormat::bf16}), request);
  EXPECT_NEAR(static_cast<double>(plan.kv.tokens()), 767'856, 0.02 * 767'856);
  EXPECT_EQ(plan.kv.full_length_requests, 4);
}

TEST(Plan, MemoryOfM27ByKind) {
  const MemoryBudget memory = plan_of(minimax_m2_7(), eight_of_32_gib()).memory;
  EXPECT_EQ(memory.weights.of(MemoryKind::experts), 17'553'162'240);
  EXPECT_EQ(memory.weights.of(MemoryKind::attention), 213'319'680);
  EXPECT_EQ(memory.weights.of(MemoryKind::embeddings), 307'298'304);
  EXPECT_EQ(memory.weights.of(MemoryKind::router_and_norms), 98'460'160);
  EXPECT_EQ(memory.weights.total(), 18'172'240'384);
  const auto usable = static_cast<int64_t>(0.9 * 32 * kGiBytes);
  const int64_t used = memory.weights.total() + memory.workspace + memory.kv_cache;
  EXPECT_LE(used, usable);
  EXPECT_GT(used + 16 * 15'872, usable);  // not one block more
  EXPECT_EQ(memory.free(), memory.total - used);
}

TEST(Plan, BytesOfATokenInTheCache) {
  PlanRequest request = eight_of_32_gib();
  request.kv_cache_dtype = DType::bf16;
  const Plan plan = plan_of(minimax_m2_7(), request);
  EXPECT_EQ(plan.kv.token_bytes_in_all, 253'952);  // as published
  EXPECT_EQ(plan.kv.token_bytes, 253'952 / 8);
  request.tensor_parallel = 4;
  const Plan two_replicas = plan_of(minimax_m2_7(), request);
  EXPECT_EQ(two_replicas.kv.token_bytes, 253'952 / 4);
  EXPECT_EQ(two_replicas.replicas, 2);
}

TEST(Plan, MoreRanksThanKvHeadsKeepThemTwice) {
  PlanRequest request = eight_of_32_gib();
  request.gpus.count = 16;
  EXPECT_EQ(plan_of(minimax_m2_7(), request).kv.token_bytes, 15'872);
}

TEST(Plan, ALengthThatDoesNotFitNamesTheOneThatWould) {
  PlanRequest request = eight_of_32_gib();
  request.max_model_len = 180'000;
  request.kv_cache_memory = int64_t{1000} * 16 * 15'872;
  const Plan plan = plan_of(minimax_m2_7(), request);
  EXPECT_TRUE(plan.has_errors());
  EXPECT_EQ(plan.kv.full_length_requests, 0);
  EXPECT_THAT(sentences(plan),
              ElementsAre(HasSubstr("error: --max-model-len 180000 needs 2.661 GiB of KV cache on "
                                    "a GPU, and there are 0.237 GiB; the longest that fits is "
                                    "--max-model-len 16000")));
  request.max_model_len = 16'000;
  EXPECT_THAT(sentences(plan_of(minimax_m2_7(), request)), IsEmpty());
  request.max_model_len = 16'001;
  EXPECT_TRUE(plan_of(minimax_m2_7(), request).has_errors());
}

TEST(Plan, WeightsThatDoNotFitNameTheMemoryThatWould) {
  PlanRequest request = eight_of_32_gib();
  request.gpus.bytes_each = 16 * kGiB;
  request.max_model_len = 180'000;
  const Plan plan = plan_of(minimax_m2_7(), request);
  EXPECT_EQ(plan.kv.blocks, 0);
  EXPECT_THAT(sentences(plan), ElementsAre(HasSubstr("error: weights (16.924 GiB) and workspace")));
  // Memory in the error rounded up to a MiB is enough.
  const double needed =
      static_cast<double>(plan.memory.weights.total() + plan.memory.workspace) + 180'000.0 * 15'872;
  request.gpus.bytes_each = static_cast<int64_t>(needed / 0.9) + (1 << 20);
  EXPECT_EQ(plan_of(minimax_m2_7(), request).kv.full_length_requests, 1);
}

TEST(Plan, AFixedCacheThatDoesNotFitIsAnError) {
  PlanRequest request = eight_of_32_gib();
  request.kv_cache_memory = 16 * kGiB;
  const Plan plan = plan_of(minimax_m2_7(), request);
  EXPECT_THAT(sentences(plan), ElementsAre(HasSubstr("are more than the 32.000 GiB of a GPU")));
  request.kv_cache_memory = 1000;
  EXPECT_THAT(sentences(plan_of(minimax_m2_7(), request)),
              ElementsAre(HasSubstr("does not hold one block of 16 tokens")));
}

TEST(Plan, DemoModelOnASmallGpu) {
  const auto demo = open_planned_model(demo_folder(), {});
  ASSERT_TRUE(demo) << demo.error().message;
  PlanRequest request{.gpus = {.count = 1, .bytes_each = 4 * kGiB}};
  request.kv_cache_memory = kGiB;
  const Plan plan = plan_of(*demo, request);
  EXPECT_EQ(plan.memory.weights.total(), demo->weight_bytes());
  EXPECT_EQ(plan.kv.dtype, DType::f8_e4m3);  // it has scales, and its config.json asks for it
  // 8 layers of keys and values, 4 heads of 64, 1 byte each; blocks of 16 in 1 GiB.
  EXPECT_EQ(plan.kv.token_bytes, 8 * 2 * 4 * 64);
  EXPECT_EQ(plan.kv.tokens(), kGiB / 4096);
  EXPECT_EQ(plan.memory.kv_cache, kGiB);
  EXPECT_EQ(plan.kv.full_length_requests, kGiB / 4096 / 4096);
  request.kv_cache_dtype = DType::bf16;
  EXPECT_EQ(plan_of(*demo, request).kv.token_bytes, 2 * plan.kv.token_bytes);
}

TEST(Plan, Fp8CacheWithoutScalesIsAWarning) {
  auto demo = open_planned_model(demo_folder(), {});
  ASSERT_TRUE(demo) << demo.error().message;
  demo->has_kv_scales = false;  // as if it had been made without --calibration
  PlanRequest request{.gpus = {.count = 1, .bytes_each = 4 * kGiB}};
  request.kv_cache_dtype = DType::f8_e4m3;
  const Plan plan = plan_of(*demo, request);
  EXPECT_THAT(sentences(plan), ElementsAre(HasSubstr("warning: the checkpoint has no scales")));
  EXPECT_FALSE(plan.has_errors());
}

TEST(Plan, BadRequestsNameTheFlag) {
  const PlannedModel model = minimax_m2_7();
  const auto flag_of = [&](auto change) {
    PlanRequest request = eight_of_32_gib();
    change(request);
    const auto plan = make_plan(model, request);
    EXPECT_FALSE(plan);
    return plan ? std::string() : plan.error().param;
  };
  EXPECT_EQ(flag_of([](PlanRequest& r) { r.tensor_parallel = 3; }), "--tp");
  EXPECT_EQ(flag_of([](PlanRequest& r) { r.tensor_parallel = 0; }), "--tp");
  EXPECT_EQ(flag_of([](PlanRequest& r) { r.tensor_parallel = 16; }), "--tp");
  EXPECT_EQ(flag_of([](PlanRequest& r) { r.max_model_len = 204'801; }), "--max-model-len");
  EXPECT_EQ(flag_of([](PlanRequest& r) { r.max_model_len = 0; }), "--max-model-len");
  EXPECT_EQ(flag_of([](PlanRequest& r) { r.context = -1; }), "--context");
  EXPECT_EQ(flag_of([](PlanRequest& r) { r.batches = {0}; }), "--batch");
  EXPECT_EQ(flag_of([](PlanRequest& r) { r.limits.max_num_seqs = 0; }), "--max-num-seqs");
  EXPECT_EQ(flag_of([](PlanRequest& r) { r.limits.max_num_batched_tokens = 1 << 21; }),
            "--max-num-batched-tokens");
  EXPECT_EQ(flag_of([](PlanRequest& r) { r.gpu_memory_utilization = 1.1; }),
            "--gpu-memory-utilization");
  EXPECT_EQ(flag_of([](PlanRequest& r) { r.gpu_memory_utilization = 0; }),
            "--gpu-memory-utilization");
  EXPECT_EQ(flag_of([](PlanRequest& r) { r.rates.bytes_per_second = -1.0; }), "--bandwidth");
  EXPECT_EQ(flag_of([](PlanRequest& r) { r.rates.operations_per_second = 0.0; }), "--tflops");
}

TEST(Plan, ForecastsEachBatchAtBothContexts) {
  PlanRequest request = eight_of_32_gib();
  request.max_model_len = 180'000;
  request.batches = {4, 1};
  request.context = 1000;
  const Plan plan = plan_of(minimax_m2_7(), request);
  ASSERT_EQ(plan.decode.size(), 4u);
  EXPECT_EQ(plan.decode[0].batch, 1);
  EXPECT_EQ(plan.decode[0].context, 0);
  EXPECT_EQ(plan.decode[3].batch, 4);
  EXPECT_EQ(plan.decode[3].context, 1000);
  std::vector<int64_t> prompts;
  prompts.reserve(plan.prefill.size());
  for (const PrefillForecast& prefill : plan.prefill)
    prompts.push_back(prefill.tokens);
  EXPECT_THAT(prompts, ElementsAre(1000, 2048, 180'000));
}

}  // namespace
}  // namespace tetrad::plan
