// One model by several ranks, each with an emulated GPU: the logits of one rank, the same bits on
// all of them.

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <thread>
#include <vector>

#include "base/sanitized_for_tests.h"
#include "checkpoint/checkpoint.h"
#include "gpu/emulated_device.h"
#include "kernels/gpu/emulated_kernels.h"
#include "model/gpu_batches_for_tests.h"
#include "model/gpu_model.h"
#include "model/minimax_m2.h"
#include "model/rank_weights.h"
#include "parallel/in_process.h"

namespace tetrad {
namespace {

using collectives::Transport;

constexpr int64_t kRankLayers = 2;
constexpr int64_t kRankPrompt = 20;
constexpr int64_t kRankDecodes = 4;

struct GpuRanksCase {
  int64_t ranks = 1;
  bool is_gfx12 = false;
  bool expert_parallel = false;
  Transport transport = Transport::automatic;
  int64_t vocab_size = 6144;
  std::chrono::milliseconds deadline{30'000};
};

class GpuRanksTest : public testing::Test {
 protected:
  static std::shared_ptr<const Checkpoint> demo() {
    static const auto kOpen = std::make_shared<const Checkpoint>(
        Checkpoint::open(TETRAD_SOURCE_DIR "/models/tetrad-demo-mxfp4_16").value());
    return kOpen;
  }

  static Result<std::unique_ptr<GpuModel>> load(const GpuRanksCase& of, const GpuRanks* ranks) {
    ModelConfig config = demo()->config();
    config.num_hidden_layers = kRankLayers;
    config.vocab_size = of.vocab_size;
    MiniMaxM2Weights weights = MiniMaxM2Weights::load(*demo()).value();
    weights.layers.resize(kRankLayers);
    weights.embed_tokens.rows = of.vocab_size;
    weights.lm_head.rows = of.vocab_size;
    if (ranks != nullptr) {
      const plan::RankShare share = plan::rank_share(config, ranks->layout, ranks->ranks->rank());
      TETRAD_ASSIGN(weights, share_weights(weights, config, share));
    }
    auto device = of.is_gfx12 ? gpu::open_emulated_device("gfx12", gpu::emulated_gfx12_kernels())
                              : gpu::open_emulated_device("nvidia", gpu::emulated_nvidia_kernels());
    // Pieces of a prompt are streamed, longer ones taken by tiles of tokens.
    TETRAD_ASSIGN(auto kernels, gpu::GpuKernels::create(*device, {.decode_experts_pairs = 3,
                                                                  .streamed_experts_pairs = 3}));
    auto memory = std::make_unique<GpuMemory>(*device);
    TETRAD_ASSIGN(GpuWeights on_gpu, load_gpu_weights(config, weights, kernels, *memory));
    const std::vector<KvScales> scales(kRankLayers, KvScales{.k = 0.05f, .v = 0.02f});
    return GpuModel::create(config, std::move(device), kernels, std::move(memory),
                            std::move(on_gpu), scales,
                            {.num_kv_blocks = 16,
                             .max_num_batched_tokens = 32,
                             .max_num_seqs = 4,
                             .max_logits_rows = 32,
                             .max_model_len = 64},
                            ranks);
  }

  using Body = std::function<void(GpuModel& model, int rank)>;
  static void on_ranks(const GpuRanksCase& of, const Body& body) {
    auto ends = parallel::make_in_process_ranks(static_cast<int>(of.ranks));
    std::vector<std::thread> threads;
    for (int rank = 0; rank < static_cast<int>(of.ranks); ++rank) {
      threads.emplace_back([&, rank] {
        const GpuRanks ranks{
            .ranks = std::move(ends[static_cast<size_t>(rank)]),
            .layout = {.tensor_parallel = of.ranks, .expert_parallel = of.expert_parallel},
            .options = {.transport = of.transport, .deadline = of.deadline},
            .least_shared_tokens = 9};
        const auto model = load(of, &ranks);
        ASSERT_TRUE(model) << model.error().message;
        EXPECT_EQ((*model)->ranks().routed_tokens(kRankPrompt).size() < kRankPrompt,
                  of.ranks > 1 && !of.expert_parallel);
        body(**model, rank);
      });
    }
    for (std::thread& thread : threads)
      thread.join();
  }

  /// Logits of a prompt, computed in pieces of these sizes, and of some tokens one by one.
  static std::vector<float> answer(GpuModel& model, const std::vector<int64_t>& pieces) {
    GpuTestSequence sequence{.tokens = some_tokens(kRankPrompt + kRankDecodes, 1),
                             .blocks = {5, 2}};
    std::vector<int64_t> counts = pieces;
    counts.insert(counts.end(), kRankDecodes, 1);
    std::vector<float> logits;
    for (const int64_t count : counts) {
      BatchOfSequences batch;
      batch.add(sequence, count, count);
      const std::vector<float> rows = copied(model.forward(batch.batch()));
      logits.insert(logits.end(), rows.begin(), rows.end());
    }
    return logits;
  }

  static void expect_logits_of_one_rank(const GpuRanksCase& of) {
    const auto one = load(of, nullptr).value();
    const std::vector<float> wanted = answer(*one, {kRankPrompt});
    std::vector<std::vector<float>> whole(static_cast<size_t>(of.ranks));
    std::vector<std::vector<float>> in_pieces(whole.size());
    on_ranks(of, [&](GpuModel& model, int rank) {
      whole[static_cast<size_t>(rank)] = answer(model, {kRankPrompt});
      in_pieces[static_cast<size_t>(rank)] = answer(model, {1, 3, 9, 1, 6});
    });
    for (size_t rank = 0; rank < whole.size(); ++rank) {
      EXPECT_EQ(whole[rank], whole[0]) << "rank " << rank;
      EXPECT_EQ(in_pieces[rank], whole[0]) << "rank " << rank << " in pieces";
    }
    ASSERT_EQ(whole[0].size(), wanted.size());
    double error = 0;
    double size = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      error += std::pow(whole[0][i] - wanted[i], 2.0);
      size += std::pow(wanted[i], 2.0);
    }
    const double difference = std::sqrt(error / size);
    fmt::print("relative difference of the logits: {:.1e}\n", difference);
    // Sums in another order, between activations of 11 bits and a cache of 4. A norm of each rank
    // for itself makes ten times as much.
    EXPECT_LT(difference, 5e-4);
  }
};

TEST_F(GpuRanksTest, TwoOverHostMemory) {
  expect_logits_of_one_rank({.ranks = 2, .is_gfx12 = true, .transport = Transport::automatic});
}

// The last has fewer tokens of the vocabulary.
TEST_F(GpuRanksTest, FourOverPeerMemory) {
  if (kSanitized) GTEST_SKIP() << "four emulated GPUs take minutes under sanitizers";
  expect_logits_of_one_rank({.ranks = 4, .transport = Transport::peer, .vocab_size = 6141});
}

// More than there are KV heads: two have the same one.
TEST_F(GpuRanksTest, EightWithFourKvHeads) {
  if (kSanitized) GTEST_SKIP() << "eight emulated GPUs take minutes under sanitizers";
  expect_logits_of_one_rank({.ranks = 8, .transport = Transport::peer});
}

// A rank's experts are none of a token's now and then, and of a few tokens some.
TEST_F(GpuRanksTest, TwoWithWholeExperts) {
  expect_logits_of_one_rank({.ranks = 2, .is_gfx12 = true, .expert_parallel = true});
}

TEST_F(GpuRanksTest, FourWithWholeExperts) {
  if (kSanitized) GTEST_SKIP() << "four emulated GPUs take minutes under sanitizers";
  expect_logits_of_one_rank({.ranks = 4, .expert_parallel = true});
}

TEST_F(GpuRanksTest, OneAsksNobody) {
  const GpuRanksCase of;
  const std::vector<float> wanted = answer(*load(of, nullptr).value(), {kRankPrompt});
  on_ranks(of, [&](GpuModel& model, int) {
    EXPECT_TRUE(model.ranks().is_alone());
    EXPECT_EQ(answer(model, {kRankPrompt}), wanted);
  });
}

TEST_F(GpuRanksTest, AreToldWhoDidNotCome) {
  const GpuRanksCase of{.ranks = 2, .deadline = std::chrono::milliseconds(300)};
  on_ranks(of, [&](GpuModel& model, int rank) {
    if (rank == 1) return;
    GpuTestSequence sequence{.tokens = some_tokens(3, 1), .blocks = {5, 2}};
    BatchOfSequences batch;
    batch.add(sequence, 3, 1);
    const auto logits = model.forward(batch.batch());
    ASSERT_FALSE(logits);
    EXPECT_THAT(logits.error().message,
                testing::HasSubstr("rank 1 of 2 did not come to a message over peer memory"));
  });
}

TEST_F(GpuRanksTest, NeedAGpuEach) {
  gpu::DeviceInfo info{.name = "NVIDIA H200", .architecture = "sm_90", .num_devices = 2};
  EXPECT_TRUE(GpuRankGroup::check_gpus(info, 2, 2));
  EXPECT_TRUE(GpuRankGroup::check_gpus(info, 4, 2));  // of two machines
  const auto checked = GpuRankGroup::check_gpus(info, 4, 4);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().param, "--tensor-parallel-size");
  EXPECT_THAT(checked.error().message,
              testing::HasSubstr("this machine has 2 GPUs (NVIDIA H200) for its 4 ranks"));
  info.architecture = "emulated";
  EXPECT_TRUE(GpuRankGroup::check_gpus(info, 4, 4));
}

}  // namespace
}  // namespace tetrad
