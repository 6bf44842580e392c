// Ranks that each have an emulated GPU, led by rank 0: its logits, its memory, and its end.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "model/following_model.h"
#include "model/gpu_rank_model.h"
#include "model/leading_model.h"
#include "model/sequence_runner.h"
#include "model/whole_rows_for_tests.h"
#include "parallel/in_process.h"
#include "small_card.h"

namespace tetrad {
namespace {

using parallel::Communicator;
using testing::HasSubstr;

constexpr int64_t kGpuRankLayers = 2;
constexpr int64_t kCardBytes = int64_t{1} << 30;
constexpr std::chrono::milliseconds kGpuBeat{50};
/// Never reached.
constexpr std::chrono::minutes kGpuDeadline{10};

/// The GPU of a rank.
using MakeGpu = std::function<std::unique_ptr<gpu::Device>(int rank)>;

std::unique_ptr<gpu::Device> nvidia_gpu(int) {
  return emulated(false);
}

Result<std::unique_ptr<GpuRankModel>> gpu_rank(const std::shared_ptr<Communicator>& end,
                                               plan::Layout layout, const MakeGpu& make_gpu) {
  const BundledWeights bundled = bundled_weights(kGpuRankLayers);
  const GpuRanks ranks{.ranks = end,
                       .layout = layout,
                       .options = {.deadline = kGpuDeadline},
                       .ranks_here = layout.tensor_parallel};
  auto device = make_gpu(end->rank());
  const gpu::GpuKernels kernels = gpu::GpuKernels::create(*device).value();
  TETRAD_ASSIGN(auto model,
                GpuDeviceModel::load(bundled.config, bundled.weights, bundled.kv_cache.scales,
                                     std::move(device), kernels, {}, &ranks));
  return std::make_unique<GpuRankModel>(std::move(model), end);
}

/// Ranks that follow, as threads, and a model that leads them; or why there is none.
class LedGpus {
 public:
  explicit LedGpus(plan::Layout layout, const MakeGpu& make_gpu = nvidia_gpu) {
    auto ends =
        parallel::make_in_process_ranks(static_cast<int>(layout.tensor_parallel), kGpuDeadline);
    errors_.resize(ends.size());
    for (size_t rank = 1; rank < ends.size(); ++rank) {
      threads_.emplace_back([this, layout, rank, make_gpu,
                             end = std::shared_ptr<Communicator>(std::move(ends[rank]))]() mutable {
        const auto key = parallel::MessageKey::exchange(*end, std::nullopt);
        const auto model = gpu_rank(end, layout, make_gpu);
        if (!model) {
          errors_[rank] = model.error().message;
          return;
        }
        const auto followed = follow_rank_0(**model, std::move(end), *key);
        if (!followed) errors_[rank] = followed.error().message;
      });
    }
    const std::shared_ptr<Communicator> first = std::move(ends[0]);
    const auto key = parallel::MessageKey::exchange(*first, std::nullopt);
    auto model = gpu_rank(first, layout, make_gpu);
    if (!model) {
      errors_[0] = model.error().message;
      return;
    }
    model_ = std::make_unique<LeadingModel>(std::move(*model), first, *key, kGpuBeat,
                                            [this](const Error&) { ++num_losses_; });
  }
  ~LedGpus() { end(); }
  LedGpus(const LedGpus&) = delete;
  LedGpus& operator=(const LedGpus&) = delete;

  LeadingModel& model() { return *model_; }
  bool has_model() const { return model_ != nullptr; }
  int num_losses() const { return num_losses_; }
  /// Of each rank, when all have ended.
  const std::vector<std::string>& errors() {
    end();
    return errors_;
  }

 private:
  void end() {
    model_.reset();
    for (std::thread& thread : threads_)
      thread.join();
    threads_.clear();
  }

  std::vector<std::string> errors_;
  std::atomic<int> num_losses_ = 0;
  std::vector<std::thread> threads_;
  std::unique_ptr<LeadingModel> model_;
};

std::vector<int32_t> prompt_of_gpu_ranks(int64_t count) {
  std::vector<int32_t> ids;
  ids.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<int32_t>((i * 769 + 11) % 6000));
  return ids;
}

/// A batch of one sequence's first tokens, all of whose logits are asked for.
struct PromptBatch {
  explicit PromptBatch(int64_t count) : ids(prompt_of_gpu_ranks(count)) {
    for (int64_t i = 0; i < count; ++i) {
      positions.push_back(static_cast<int32_t>(i));
      slots.push_back(i);
    }
    for (int64_t i = 0; i < kv_blocks_for(count); ++i)
      blocks.push_back(static_cast<int32_t>(i));
    slice = {.query_len = count, .block_table = blocks};
  }
  Batch batch() const {
    return {.token_ids = ids,
            .positions = positions,
            .slot_mapping = slots,
            .sequences = {&slice, 1},
            .logits_rows = positions};
  }

  std::vector<int32_t> ids, positions, blocks;
  std::vector<int64_t> slots;
  SequenceSlice slice;
};

/// Of a step of kManyRows rows of which none is asked for whole: what is known of the first, the
/// row itself, whose logits have made room for others', and the last.
struct ManyRowsAnswer {
  RowSummary first;
  std::vector<float> first_row, last_row;
};
constexpr int64_t kManyRows = 70;  // of 64 that are computed at once

ManyRowsAnswer ask_many_rows(DeviceModel& model) {
  const StartedModel started =
      model
          .start({.max_model_len = 128, .max_num_seqs = 1, .max_num_batched_tokens = 128},
                 {.bytes = 4 << 20})
          .value();
  const PromptBatch prompt(kManyRows);
  const std::vector<LogitsUse> uses(kManyRows, {.is_whole = false, .temperature = 0});
  EXPECT_TRUE(started.steps->start(prompt.batch(), uses));
  const StepLogits logits = started.steps->finish().value();
  ManyRowsAnswer answer;
  EXPECT_TRUE(logits.summary(0));
  answer.first = logits.summary(0).value_or(RowSummary{});
  const auto last = logits.row(kManyRows - 1);
  EXPECT_TRUE(last) << last.error().message;
  if (last) answer.last_row.assign(last->begin(), last->end());
  const auto first = logits.row(0);
  EXPECT_TRUE(first) << first.error().message;
  if (first) answer.first_row.assign(first->begin(), first->end());
  return answer;
}

double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0;
  double size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += std::pow(a[i] - b[i], 2.0);
    size += std::pow(a[i], 2.0);
  }
  return std::sqrt(error / size);
}

TEST(GpuRanksOfAModel, BringRowsThatMadeRoomForOthers) {
  const auto alone = load_on(emulated(false), bundled_weights(kGpuRankLayers)).value();
  const ManyRowsAnswer of_one = ask_many_rows(*alone);
  LedGpus ranks({.tensor_parallel = 2});
  const ManyRowsAnswer of_two = ask_many_rows(ranks.model());
  ASSERT_EQ(of_two.first_row.size(), of_one.first_row.size());
  // As gpu_ranks_test.cpp allows it.
  EXPECT_LT(relative_difference(of_one.first_row, of_two.first_row), 5e-4);
  EXPECT_LT(relative_difference(of_one.last_row, of_two.last_row), 5e-4);
  EXPECT_EQ(of_two.first.largest, of_two.first_row[static_cast<size_t>(of_two.first.best)]);
  EXPECT_THAT(ranks.errors(), testing::Each(""));
  EXPECT_EQ(ranks.num_losses(), 0);
}

TEST(GpuRanksOfAModel, HaveAsManyBlocksAsTheOneWithTheLeastMemory) {
  const StepLimits limits{.max_model_len = 64, .max_num_seqs = 1, .max_num_batched_tokens = 64};
  const auto blocks_of = [&](int64_t bytes_of_rank_1) -> Result<int64_t> {
    LedGpus ranks({.tensor_parallel = 2}, [&](int rank) -> std::unique_ptr<gpu::Device> {
      return std::make_unique<SmallCard>(rank == 0 ? kCardBytes : bytes_of_rank_1, 0);
    });
    TETRAD_ASSIGN(const StartedModel started, ranks.model().start(limits, {.utilization = 0.5}));
    return started.num_kv_blocks;
  };
  const int64_t both = blocks_of(kCardBytes).value();
  const int64_t less = blocks_of(kCardBytes * 3 / 4).value();
  const int64_t bytes_of_block =
      load_on(emulated(false), bundled_weights(kGpuRankLayers)).value()->kv_block_bytes() / 2;
  EXPECT_LT(std::abs((both - less) * bytes_of_block - kCardBytes / 8), 1 << 20);
  const auto nothing = blocks_of(kCardBytes / 2);
  ASSERT_FALSE(nothing);
  EXPECT_THAT(nothing.error().message,
              testing::AllOf(HasSubstr("rank 1: --gpu-memory-utilization"),
                             HasSubstr("the weights of rank 1 of 2 take")));
}

TEST(GpuRanksOfAModel, FailTogetherWhereTheShareOfOneDoesNotFit) {
  LedGpus ranks({.tensor_parallel = 2}, [](int rank) -> std::unique_ptr<gpu::Device> {
    return std::make_unique<SmallCard>(rank == 0 ? kCardBytes : 1 << 20, 0);
  });
  EXPECT_FALSE(ranks.has_model());
  EXPECT_THAT(ranks.errors(), testing::Each(HasSubstr("rank 1: the weights of rank 1 of 2 take")));
}

/// Fails at a launch, when it is told to.
class FailingGpu final : public gpu::ForwardingDevice {
 public:
  FailingGpu(std::unique_ptr<gpu::Device> device, const std::atomic<bool>& fails)
      : ForwardingDevice(std::move(device)), fails_(fails) {}
  using ForwardingDevice::launch;
  Result<void> launch(gpu::Kernel kernel, const gpu::LaunchShape& shape, const void* arguments,
                      size_t argument_bytes) override {
    if (fails_) return fail(ErrorCode::internal, "the card has fallen off the bus");
    return ForwardingDevice::launch(kernel, shape, arguments, argument_bytes);
  }

 private:
  const std::atomic<bool>& fails_;
};

class GpuRanksWhereOneFails : public testing::TestWithParam<int> {};

// Long before a deadline: those whose devices wait for it hear that it has left, and none lets go
// of memory that another's kernel may write to.
TEST_P(GpuRanksWhereOneFails, EndAtOnce) {
  const int failing = GetParam();
  std::atomic<bool> fails = false;
  LedGpus ranks({.tensor_parallel = 4, .expert_parallel = true},
                [&](int rank) -> std::unique_ptr<gpu::Device> {
                  if (rank != failing) return emulated(false);
                  return std::make_unique<FailingGpu>(emulated(false), fails);
                });
  ASSERT_TRUE(ranks.has_model());
  {
    const StartedModel started =
        ranks.model()
            .start({.max_model_len = 64, .max_num_seqs = 1, .max_num_batched_tokens = 64},
                   {.bytes = 4 << 20})
            .value();
    const PromptBatch prompt(3);
    EXPECT_TRUE(started.steps->forward(prompt.batch()));
    fails = true;
    const auto begun = started.steps->start(prompt.batch(), {});
    if (failing == 0) {
      ASSERT_FALSE(begun);
      EXPECT_THAT(begun.error().message, HasSubstr("the card has fallen off the bus"));
    } else {
      ASSERT_TRUE(begun) << begun.error().message;
      const auto failed = started.steps->finish();
      ASSERT_FALSE(failed);
      EXPECT_THAT(failed.error().message,
                  HasSubstr(" of 4 did not come to a message over peer memory and was given up"));
    }
    EXPECT_FALSE(started.steps->forward(prompt.batch()));
  }
  EXPECT_EQ(ranks.num_losses(), 1);
  for (size_t rank = 1; rank < ranks.errors().size(); ++rank)
    EXPECT_NE(ranks.errors()[rank], "") << rank;
  if (failing > 0) {
    EXPECT_THAT(ranks.errors()[static_cast<size_t>(failing)],
                HasSubstr("the card has fallen off the bus"));
  }
}
INSTANTIATE_TEST_SUITE_P(Each, GpuRanksWhereOneFails, testing::Values(0, 1, 3));

}  // namespace
}  // namespace tetrad
