#include "model/rank_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "plan/planned_model.h"

namespace tetrad {
namespace {

using testing::HasSubstr;

/// Matrices without values: memory that must not be read, so that a test notices who does.
class Unreadable {
 public:
  Unreadable() = default;
  Unreadable(const Unreadable&) = delete;
  Unreadable& operator=(const Unreadable&) = delete;
  ~Unreadable() {
    for (const auto& [memory, bytes] : pieces_)
      ::munmap(memory, bytes);
  }

  WeightMatrix matrix(WeightFormat format, int64_t rows, int64_t cols, bool is_readable = false) {
    WeightMatrix matrix;
    matrix.format = format;
    matrix.rows = rows;
    matrix.cols = cols;
    matrix.data = reserve(rows * matrix.row_bytes(), is_readable);
    matrix.scales = reserve(matrix.num_scales() * 4, is_readable);
    return matrix;
  }

 private:
  const std::byte* reserve(int64_t size, bool is_readable) {
    if (size == 0) return nullptr;
    const auto bytes = static_cast<size_t>(size);
    void* memory = ::mmap(nullptr, bytes, is_readable ? PROT_READ : PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) ADD_FAILURE() << "no address space for " << bytes;
    pieces_.emplace_back(memory, bytes);
    return static_cast<const std::byte*>(memory);
  }

  std::vector<std::pair<void*, size_t>> pieces_;
};

/// MiniMax-M2.7 but for the number of its layers.
ModelConfig two_layers() {
  const auto path =
      std::filesystem::path(TETRAD_SOURCE_DIR) / "tests/golden/minimax-m2.7/config.json";
  ModelConfig config = plan::open_planned_model(path, {})->config;
  config.num_hidden_layers = 2;
  return config;
}

/// In the formats that a plan assumes. Only what is cut by columns may be read.
MiniMaxM2Weights weights_of(const ModelConfig& config, bool cuts_experts, Unreadable& memory) {
  const int64_t hidden = config.hidden_size;
  const WeightFormat packed = WeightFormat::mxfp4_16;
  MiniMaxM2Weights weights;
  weights.embed_tokens = memory.matrix(WeightFormat::bf16, config.vocab_size, hidden);
  weights.lm_head = memory.matrix(WeightFormat::bf16, config.vocab_size, hidden);
  for (int64_t index = 0; index < config.num_hidden_layers; ++index) {
    MiniMaxM2Layer& layer = weights.layers.emplace_back();
    layer.q_proj = memory.matrix(packed, config.q_size(), hidden);
    layer.k_proj = memory.matrix(packed, config.kv_size(), hidden);
    layer.v_proj = memory.matrix(packed, config.kv_size(), hidden);
    layer.o_proj = memory.matrix(packed, hidden, config.q_size(), true);
    layer.q_norm.assign(static_cast<size_t>(config.q_size()), 1.0f);
    layer.k_norm.assign(static_cast<size_t>(config.kv_size()), 1.0f);
    layer.router = memory.matrix(WeightFormat::bf16, config.num_local_experts, hidden);
    for (int64_t expert = 0; expert < config.num_local_experts; ++expert) {
      layer.w1.push_back(memory.matrix(packed, config.intermediate_size, hidden));
      layer.w3.push_back(memory.matrix(packed, config.intermediate_size, hidden));
      layer.w2.push_back(memory.matrix(packed, hidden, config.intermediate_size, cuts_experts));
    }
  }
  return weights;
}

// The real sizes: 2.3 GB a layer, of which a rank reads what it copies.
TEST(RankWeights, OfTheRealModelAreWhatThePlanSaysAndReadNoMore) {
  const ModelConfig config = two_layers();
  const plan::PlannedModel planned = plan::planned_model(config, {}).value();
  for (const bool expert_parallel : {true, false}) {
    const plan::Layout layout{.tensor_parallel = 8, .expert_parallel = expert_parallel};
    Unreadable memory;
    const MiniMaxM2Weights whole = weights_of(config, !expert_parallel, memory);
    int64_t of_plan = 0;
    for (const plan::WeightClass& weight : planned.weights)
      of_plan += weight.is_matrix() ? plan::shard_of(weight, config, layout).bytes : 0;
    int64_t read = 0;
    const auto share =
        share_weights(whole, config, plan::rank_share(config, layout, 5),
                      [&](std::span<const std::byte> part) { read += std::ssize(part); });
    ASSERT_TRUE(share) << share.error().message;
    EXPECT_EQ(share->total_bytes(), of_plan);
    EXPECT_EQ(share->layers[0].q_norm.size(), 768u);
    EXPECT_EQ(share->layers[0].k_norm.size(), 128u);
    // o_proj, and w2 where it is cut: of each its eighth is copied, and the whole given back.
    const int64_t cut = 2 * (3072 * 6144 + (expert_parallel ? 0 : int64_t{256} * 3072 * 1536));
    EXPECT_EQ(share->copies->bytes(), cut / 8 * 5 / 8);
    EXPECT_EQ(read, cut / 2);
  }
}

TEST(RankWeights, NameTheMatrixThatCannotBeCut) {
  const ModelConfig config = two_layers();
  Unreadable memory;
  MiniMaxM2Weights whole = weights_of(config, false, memory);
  whole.layers[1].q_proj.format = WeightFormat::codebook4;
  whole.layers[1].q_proj.codes_transposed = true;
  const auto share = share_weights(whole, config, plan::rank_share(config, {8, true}, 0));
  ASSERT_FALSE(share);
  EXPECT_EQ(share.error().code, ErrorCode::unsupported);
  EXPECT_THAT(share.error().message, HasSubstr("model.layers.1.self_attn.q_proj"));
}

}  // namespace
}  // namespace tetrad
