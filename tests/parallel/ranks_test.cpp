// Many ranks, one answer: the demo model by 1, 2, 4 and 8 ranks, which are threads.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/core.h>

#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "base/percentile.h"
#include "base/sanitized_for_tests.h"
#include "kernels/kernels.h"
#include "parallel/forwarding_communicator_for_tests.h"
#include "parallel/in_process.h"
#include "plan/planned_model.h"
#include "rank_answers.h"

namespace tetrad {
namespace {

using parallel::Communicator;
using parallel_for_tests::Answer;
using parallel_for_tests::answer_of;
using parallel_for_tests::largest_difference;

/// Of FP32 logits of one rank and of many: sums of other orders.
constexpr float kRankTolerance = 1e-4f;
/// Relative, with activations of 8 bits.
constexpr double kInt8Tolerance = 1e-2;

std::shared_ptr<const Checkpoint> checkpoint_in(const std::filesystem::path& folder) {
  static std::map<std::filesystem::path, std::shared_ptr<const Checkpoint>> open;
  std::shared_ptr<const Checkpoint>& checkpoint = open[folder];
  if (checkpoint == nullptr)
    checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(folder).value());
  return checkpoint;
}

using MakeKernels = std::function<std::shared_ptr<Kernels>()>;
const KvCacheFormat kExactCache{DType::f32, {}};

std::shared_ptr<Kernels> reference_kernels() {
  return make_reference_kernels();
}
std::shared_ptr<Kernels> fast_kernels() {
  return make_cpu_kernels(std::make_shared<ThreadPool>(1)).value();
}
std::shared_ptr<Kernels> fast_int8_kernels() {
  return make_cpu_kernels(std::make_shared<ThreadPool>(1), "auto", ActivationType::int8).value();
}

Answer answer_of_one(const std::filesystem::path& folder, const MakeKernels& make_kernels) {
  const auto model = MiniMaxM2::load(checkpoint_in(folder), make_kernels()).value();
  return answer_of(*model, kExactCache).value();
}

/// Puts something between a rank and its end of the group.
using Wrap = std::function<std::shared_ptr<Communicator>(std::shared_ptr<Communicator>)>;

using Ask = std::function<Result<Answer>(MiniMaxM2&, const KvCacheFormat&)>;

/// The answer of each rank.
std::vector<Result<Answer>> answers_of_ranks(const std::filesystem::path& folder,
                                             const MakeKernels& make_kernels, plan::Layout layout,
                                             const Wrap& wrap = nullptr,
                                             const Ask& ask = answer_of) {
  const auto checkpoint = checkpoint_in(folder);
  const auto size = static_cast<size_t>(layout.tensor_parallel);
  auto ends = parallel::make_in_process_ranks(static_cast<int>(size));
  std::vector<Result<Answer>> answers(size);
  std::vector<std::thread> threads;
  threads.reserve(size);
  for (size_t rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      std::shared_ptr<Communicator> end = std::move(ends[rank]);
      if (wrap) end = wrap(std::move(end));
      auto model = MiniMaxM2::load(checkpoint, make_kernels(), layout, std::move(end));
      if (!model) {
        answers[rank] = tl::unexpected(model.error());
        return;
      }
      answers[rank] = ask(**model, kExactCache);
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  return answers;
}

void expect_same_on_all_ranks(const std::vector<Result<Answer>>& answers) {
  for (const Result<Answer>& answer : answers) {
    ASSERT_TRUE(answer) << answer.error().message;
    // Bit by bit: who samples on another rank chooses the same.
    EXPECT_EQ(answer->logits, answers[0]->logits);
    EXPECT_EQ(answer->greedy, answers[0]->greedy);
    EXPECT_EQ(answer->top_ids, answers[0]->top_ids);
  }
}

/// What forward_top() says is what forward() says.
void expect_top_of(const Answer& answer) {
  const size_t vocab = answer.logits.size() / parallel_for_tests::kPromptTokens;
  const std::span<const float> row = std::span(answer.logits).last(vocab);
  ASSERT_EQ(answer.top_ids.size(), 40u);
  EXPECT_EQ(answer.top_ids[0], answer.greedy[0]);
  std::vector<float> sorted(row.begin(), row.end());
  std::ranges::sort(sorted, std::greater<>());
  for (size_t i = 0; i < answer.top_ids.size(); ++i) {
    EXPECT_EQ(answer.top_logits[i], row[static_cast<size_t>(answer.top_ids[i])]);
    EXPECT_EQ(answer.top_logits[i], sorted[i]);
  }
}

// The engine's contract holds: a token's bits depend neither on its batch nor on how a prompt was
// cut, whoever computes it.
TEST(RanksOfAModel, GiveTheSameBitsInPieces) {
  for (const bool expert_parallel : {false, true}) {
    const plan::Layout layout{.tensor_parallel = 4, .expert_parallel = expert_parallel};
    const auto& folder = parallel_for_tests::kPackedModel;
    const auto whole = answers_of_ranks(folder, fast_int8_kernels, layout);
    const auto pieces = answers_of_ranks(folder, fast_int8_kernels, layout, nullptr,
                                         parallel_for_tests::answer_in_pieces);
    ASSERT_TRUE(whole[0] && pieces[0]);
    EXPECT_EQ(whole[0]->logits, pieces[0]->logits);
  }
}

struct RanksCase {
  int64_t ranks;
  bool expert_parallel;
};

class ManyRanks : public testing::TestWithParam<RanksCase> {
 protected:
  plan::Layout layout() const {
    return {.tensor_parallel = GetParam().ranks, .expert_parallel = GetParam().expert_parallel};
  }

  void SetUp() override {
    // Two ranks, and as many as have the same KV heads twice, see the same code.
    if (kSanitized && GetParam().ranks != 2 && GetParam().ranks != 8)
      GTEST_SKIP() << "takes minutes under sanitizers";
  }

  void expect_one_answer(const std::filesystem::path& folder, const MakeKernels& make_kernels) {
    const Answer one = answer_of_one(folder, make_kernels);
    const auto answers = answers_of_ranks(folder, make_kernels, layout());
    expect_same_on_all_ranks(answers);
    if (HasFatalFailure()) return;
    const float difference = largest_difference(*answers[0], one);
    EXPECT_LE(difference, kRankTolerance);
    EXPECT_EQ(answers[0]->greedy, one.greedy);
    expect_top_of(*answers[0]);
    fmt::print("largest difference of a logit: {:.1e}\n", difference);
  }
};

TEST_P(ManyRanks, OfThePackedModelByTheReference) {
  if (kSanitized) GTEST_SKIP() << "scalar kernels take minutes under sanitizers";
  expect_one_answer(parallel_for_tests::kPackedModel, reference_kernels);
}

TEST_P(ManyRanks, OfThePackedModelByTheFastKernels) {
  if (kSanitized) GTEST_SKIP() << "activations of 8 bits go the same way";
  expect_one_answer(parallel_for_tests::kPackedModel, fast_kernels);
}

TEST_P(ManyRanks, OfTheDenseModel) {
  if (kSanitized) GTEST_SKIP() << "the packed model goes the same way";
  if (!std::filesystem::exists(parallel_for_tests::kDenseModel))
    GTEST_SKIP() << "needs ../shared/models";
  expect_one_answer(parallel_for_tests::kDenseModel, fast_kernels);
}

/// The median over the tokens, so that one that a last bit sends to another expert decides nothing.
double relative_difference(const Answer& answer, const Answer& expected) {
  const size_t vocab = expected.logits.size() / parallel_for_tests::kPromptTokens;
  std::vector<double> of_tokens;
  for (size_t first = 0; first < expected.logits.size(); first += vocab) {
    double difference = 0;
    double size = 0;
    for (size_t i = first; i < first + vocab; ++i) {
      difference += std::pow(static_cast<double>(answer.logits[i]) - expected.logits[i], 2);
      size += std::pow(static_cast<double>(expected.logits[i]), 2);
    }
    of_tokens.push_back(std::sqrt(difference / size));
  }
  return median_of(std::move(of_tokens));
}

// A last bit may round an activation to the next of 8 bits.
TEST_P(ManyRanks, OfThePackedModelWithActivationsOf8Bits) {
  const auto& folder = parallel_for_tests::kPackedModel;
  const Answer one = answer_of_one(folder, fast_int8_kernels);
  const auto answers = answers_of_ranks(folder, fast_int8_kernels, layout());
  expect_same_on_all_ranks(answers);
  if (HasFatalFailure()) return;
  EXPECT_LT(relative_difference(*answers[0], one), kInt8Tolerance);
  expect_top_of(*answers[0]);
  // One rank asks nobody.
  if (layout().tensor_parallel > 1) return;
  EXPECT_EQ(answers[0]->logits, one.logits);
}

/// Does something else with the squares that QK-norm sums than to add them.
class OtherNorm final : public parallel::ForwardingCommunicator {
 public:
  /// squares: [T, 2], of q and of k. mine: before they were summed.
  using Change = std::function<void(std::span<float> squares, std::span<const float> mine)>;

  OtherNorm(std::shared_ptr<Communicator> ranks, Change change)
      : ForwardingCommunicator(std::move(ranks)), change_(std::move(change)) {}
  Result<void> all_reduce_sum(std::span<float> values) override {
    const std::vector<float> mine(values.begin(), values.end());
    TETRAD_TRY(ForwardingCommunicator::all_reduce_sum(values));
    // Two squares a token: less than any row of activations.
    if (values.size() > 2 * parallel_for_tests::kPromptTokens) return {};
    ++num_norms_;
    change_(values, mine);
    return {};
  }

  int num_norms() const { return num_norms_; }

 private:
  Change change_;
  int num_norms_ = 0;
};

/// By how much the logits of `ranks` ranks with another norm differ from those of one.
float difference_with(int64_t ranks, const OtherNorm::Change& change) {
  const auto& folder = parallel_for_tests::kPackedModel;
  const Answer one = answer_of_one(folder, fast_kernels);
  std::vector<std::shared_ptr<OtherNorm>> ends;
  std::mutex mutex;
  const auto answers = answers_of_ranks(
      folder, fast_kernels, {.tensor_parallel = ranks}, [&](std::shared_ptr<Communicator> end) {
        const std::lock_guard lock(mutex);
        return ends.emplace_back(std::make_shared<OtherNorm>(std::move(end), change));
      });
  EXPECT_TRUE(answers[0]);
  // One message for each layer and step, for q and k together.
  EXPECT_EQ(ends[0]->num_norms(), 8 * (parallel_for_tests::kGreedyTokens + 1));
  return answers[0] ? largest_difference(*answers[0], one) : 0;
}

TEST(ManyRanksMutated, TheTestItselfChangesNothing) {
  if (kSanitized) GTEST_SKIP() << "it is about numbers";
  EXPECT_LE(difference_with(2, [](std::span<float>, std::span<const float>) {}), kRankTolerance);
}

// What peers made of it: each rank divides by the mean of its own heads.
TEST(ManyRanksMutated, QkNormOfEachRankIsNoticed) {
  if (kSanitized) GTEST_SKIP() << "it is about numbers";
  for (const int64_t ranks : {2, 4}) {
    const OtherNorm::Change per_rank = [&](std::span<float> squares, std::span<const float> mine) {
      for (size_t i = 0; i < squares.size(); ++i)
        squares[i] = mine[i] * static_cast<float>(ranks);
    };
    EXPECT_GT(difference_with(ranks, per_rank), 1000 * kRankTolerance);
  }
}

// And with more ranks than KV heads: every copy of a head is counted.
TEST(ManyRanksMutated, KvHeadsThatCountTwiceAreNoticed) {
  if (kSanitized) GTEST_SKIP() << "it is about numbers";
  const OtherNorm::Change twice = [](std::span<float> squares, std::span<const float>) {
    for (size_t i = 1; i < squares.size(); i += 2)
      squares[i] *= 2;
  };
  EXPECT_GT(difference_with(8, twice), 1000 * kRankTolerance);
}

/// Leaves in the middle of a forward pass.
class Quitter final : public parallel::ForwardingCommunicator {
 public:
  using ForwardingCommunicator::ForwardingCommunicator;
  Result<void> all_reduce_sum(std::span<float> values) override {
    if (--num_sums_ == 0) leave();
    return ForwardingCommunicator::all_reduce_sum(values);
  }
  Result<void> all_gather(std::span<const std::byte>, std::span<std::byte>) override {
    return fail(ErrorCode::internal, "not reached");
  }
  Result<void> broadcast(std::span<std::byte>, int) override {
    return fail(ErrorCode::internal, "not reached");
  }
  Result<void> barrier() override { return fail(ErrorCode::internal, "not reached"); }

 private:
  int num_sums_ = 10;
};

TEST(RanksOfAModel, AreToldThatOneHasLeft) {
  const auto answers =
      answers_of_ranks(parallel_for_tests::kPackedModel, fast_kernels, {.tensor_parallel = 4},
                       [](std::shared_ptr<Communicator> end) -> std::shared_ptr<Communicator> {
                         if (end->rank() != 1) return end;
                         return std::make_shared<Quitter>(std::move(end));
                       });
  for (size_t rank = 0; rank < answers.size(); ++rank) {
    ASSERT_FALSE(answers[rank]);
    EXPECT_THAT(answers[rank].error().message,
                testing::HasSubstr(rank == 1 ? "had enough" : "rank 1 of 4 has left"));
  }
}

TEST(RanksOfAModel, RefuseALayoutThatDoesNotFit) {
  const auto load_by = [](int64_t size, int ranks) {
    return MiniMaxM2::load(checkpoint_in(parallel_for_tests::kPackedModel), reference_kernels(),
                           {.tensor_parallel = size},
                           std::move(parallel::make_in_process_ranks(ranks).front()));
  };
  const Error error = load_by(3, 3).error();
  EXPECT_EQ(error.param, "--tensor-parallel-size");
  EXPECT_THAT(error.message, testing::HasSubstr("8 attention heads do not divide over 3 ranks; "
                                                "possible are 1, 2, 4, 8"));
  EXPECT_THAT(load_by(4, 2).error().message, testing::HasSubstr("there are 2 ranks"));
}

/// Bytes of the matrices of rank 0, as the plan has them.
int64_t planned_matrix_bytes(const plan::PlannedModel& model, plan::Layout layout) {
  int64_t bytes = 0;
  for (const plan::WeightClass& weight : model.weights) {
    if (weight.is_matrix()) bytes += plan::shard_of(weight, model.config, layout).bytes;
  }
  return bytes;
}

TEST(RanksOfAModel, HoldWhatThePlanSays) {
  const auto checkpoint = checkpoint_in(parallel_for_tests::kPackedModel);
  const plan::PlannedModel planned = plan::planned_model(*checkpoint).value();
  const int64_t whole = MiniMaxM2Weights::load(*checkpoint)->total_bytes();
  for (const plan::Layout layout :
       {plan::Layout{1, false}, plan::Layout{2, false}, plan::Layout{2, true},
        plan::Layout{8, false}, plan::Layout{8, true}}) {
    auto ends = parallel::make_in_process_ranks(static_cast<int>(layout.tensor_parallel));
    for (auto& end : ends) {
      const auto model =
          MiniMaxM2::load(checkpoint, reference_kernels(), layout, std::move(end)).value();
      const int64_t bytes = model->weights().total_bytes();
      EXPECT_EQ(bytes, planned_matrix_bytes(planned, layout));
      EXPECT_LT(bytes, whole / layout.tensor_parallel + whole / 20);
      // All else are views into the file.
      const bool cuts_experts = layout.tensor_parallel > 1 && !layout.expert_parallel;
      const int64_t o_proj = model->weights().layers[0].o_proj.total_bytes();
      int64_t copied = layout.tensor_parallel > 1 ? o_proj : 0;
      for (const WeightMatrix& w2 : model->weights().layers[0].w2)
        copied += cuts_experts ? w2.total_bytes() : 0;
      EXPECT_EQ(model->weights().copies->bytes(), 8 * copied);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, ManyRanks,
                         testing::Values(RanksCase{1, false}, RanksCase{2, false},
                                         RanksCase{2, true}, RanksCase{4, false},
                                         RanksCase{4, true}, RanksCase{8, false},
                                         RanksCase{8, true}),
                         [](const auto& tested) {
                           return fmt::format("{}{}", tested.param.ranks,
                                              tested.param.expert_parallel ? "WithExperts" : "");
                         });

}  // namespace
}  // namespace tetrad
