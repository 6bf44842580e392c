#include "model/synthetic_model.h"

#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "base/free_memory.h"
#include "base/integer_math.h"
#include "base/splitmix.h"
#include "model/kv_cache.h"

namespace tetrad {
namespace {

constexpr int64_t kMostOfAShape = int64_t{1} << 20;  // no product of sizes then overflows
constexpr int64_t kMatrixAlignment = 64;

/// What the values of a matrix are to be like.
enum class MatrixRole : uint8_t {
  table,   // entries near 1
  linear,  // outputs as large as inputs
  router,  // as linear, in F32
};

/// visit(matrix, role) in an order that never changes: seeds and places follow from it.
template <class Visit>
void for_each_matrix_of(MiniMaxM2Weights& weights, const Visit& visit) {
  visit(weights.embed_tokens, MatrixRole::table);
  visit(weights.lm_head, MatrixRole::linear);
  for (MiniMaxM2Layer& layer : weights.layers) {
    for (WeightMatrix* matrix : {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.o_proj})
      visit(*matrix, MatrixRole::linear);
    visit(layer.router, MatrixRole::router);
    for (auto* experts : {&layer.w1, &layer.w3, &layer.w2}) {
      for (WeightMatrix& matrix : *experts)
        visit(matrix, MatrixRole::linear);
    }
  }
}

/// Everything but the values: matrices without memory.
MiniMaxM2Weights empty_weights(const ModelConfig& config) {
  const auto packed = [](int64_t rows, int64_t cols) {
    return WeightMatrix{.format = WeightFormat::mxfp4_16, .rows = rows, .cols = cols};
  };
  const auto ones = [](int64_t size) {
    return std::vector<float>(static_cast<size_t>(size), 1.0f);
  };
  const int64_t hidden = config.hidden_size;
  const auto num_experts = static_cast<size_t>(config.num_local_experts);
  const std::vector in(num_experts, packed(config.intermediate_size, hidden));
  const std::vector out(num_experts, packed(hidden, config.intermediate_size));
  const MiniMaxM2Layer layer{.input_layernorm = ones(hidden),
                             .post_attention_layernorm = ones(hidden),
                             .q_proj = packed(config.q_size(), hidden),
                             .k_proj = packed(config.kv_size(), hidden),
                             .v_proj = packed(config.kv_size(), hidden),
                             .o_proj = packed(hidden, config.q_size()),
                             .q_norm = ones(config.q_size()),
                             .k_norm = ones(config.kv_size()),
                             .router = {.rows = config.num_local_experts, .cols = hidden},
                             .routing_bias = std::vector<float>(num_experts),
                             .w1 = in,
                             .w3 = in,
                             .w2 = out};
  const auto num_layers = static_cast<size_t>(config.num_hidden_layers);
  return {.embed_tokens = packed(config.vocab_size, hidden),
          .lm_head = packed(config.vocab_size, hidden),
          .norm = ones(hidden),
          .layers = std::vector(num_layers, layer),
          .kv_scales = {.layers = std::vector<std::optional<KvScales>>(num_layers, KvScales{}),
                        .announced = true,
                        .warnings = {}}};
}

int64_t place_bytes(int64_t bytes) {
  return ceil_div(bytes, kMatrixAlignment) * kMatrixAlignment;
}

/// Of codes, or of float32 elements.
int64_t data_bytes(const WeightMatrix& matrix) {
  return matrix.rows * matrix.row_bytes();
}

struct WeightMemory {
  std::shared_ptr<const void> owner;
  std::byte* data = nullptr;
};

Result<WeightMemory> allocate_weights(int64_t bytes, int64_t other_bytes) {
  constexpr double kGB = 1e9;
  const int64_t free = free_memory();
  if (bytes + other_bytes > free && free > 0) {
    return fail(ErrorCode::resource_exhausted,
                "a model of this shape takes {:.1f} GB of memory and its use {:.1f} GB more, but "
                "{:.1f} GB are free: free some, or make it smaller",
                static_cast<double>(bytes) / kGB, static_cast<double>(other_bytes) / kGB,
                static_cast<double>(free) / kGB);
  }
  auto pages = PageMemory::allocate(bytes);
  if (!pages) {
    return fail(ErrorCode::resource_exhausted, "cannot allocate {:.1f} GB for a model: {}",
                static_cast<double>(bytes) / kGB, std::strerror(errno));
  }
  std::byte* const data = pages->data();
  return WeightMemory{std::make_shared<PageMemory>(std::move(*pages)), data};
}

/// 64 random bits for each place of each matrix.
struct RandomWords {
  uint64_t seed = 0;
  uint64_t operator()(int64_t index) const {
    return splitmix(seed + static_cast<uint64_t>(index + 1) * kSplitMixStep);
  }
};

double codebook_rms() {
  double squares = 0;
  for (const int8_t level : kIq4NlCodebook)
    squares += level * level;
  return std::sqrt(squares / static_cast<double>(kIq4NlCodebook.size()));
}

/// FP16 scales from 0.5 to 1.5 of what gives weights the `deviation`, of both signs because the
/// mean of the codebook is not 0.
std::array<uint16_t, 256> scales_for(double deviation) {
  const double middle = deviation / codebook_rms();
  std::array<uint16_t, 256> scales;
  for (size_t i = 0; i < scales.size(); ++i) {
    const size_t step = i / 2;
    const double magnitude = middle * (0.5 + static_cast<double>(step) / 127);
    scales[i] = float_to_f16(static_cast<float>(i % 2 == 0 ? magnitude : -magnitude));
  }
  return scales;
}

void fill_packed(const WeightMatrix& matrix, std::byte* data, std::byte* scales, double deviation,
                 uint64_t seed, ThreadPool& pool) {
  constexpr int64_t kWord = sizeof(uint64_t);
  const std::array<uint16_t, 256> choices = scales_for(deviation);
  const RandomWords codes{seed};
  const RandomWords choice{~seed};
  // By rows, as the kernels divide them: memory then is near the thread that reads it.
  pool.parallel_for(matrix.rows, 1, [&](int64_t begin, int64_t end, int) {
    const int64_t words_of_row = matrix.cols / 2 / kWord;
    for (int64_t word = begin * words_of_row; word < end * words_of_row; ++word) {
      const uint64_t bits = codes(word);
      std::memcpy(data + word * kWord, &bits, sizeof bits);
    }
    const int64_t scales_of_row = matrix.cols / kMxfp4GroupSize;
    for (int64_t at = begin * scales_of_row; at < end * scales_of_row; ++at) {
      const uint16_t scale = choices[(choice(at / kWord) >> (at % kWord * 8)) & 0xFF];
      std::memcpy(scales + at * 2, &scale, sizeof scale);
    }
  });
}

/// Evenly distributed around 0.
void fill_router(const WeightMatrix& matrix, std::byte* data, double deviation, uint64_t seed) {
  const RandomWords words{seed};
  const double largest = deviation * std::sqrt(3.0);
  for (int64_t i = 0; i < matrix.rows * matrix.cols; ++i) {
    const auto value = static_cast<float>(largest * (2 * unit_interval(words(i)) - 1));
    std::memcpy(data + i * static_cast<int64_t>(sizeof value), &value, sizeof value);
  }
}

/// Gives every matrix its place in `memory` and its values.
void fill_weights(MiniMaxM2Weights& weights, std::byte* memory, uint64_t seed, ThreadPool& pool) {
  uint64_t number = 0;
  for_each_matrix_of(weights, [&](WeightMatrix& matrix, MatrixRole role) {
    const uint64_t matrix_seed = splitmix(splitmix(seed + kSplitMixStep) + ++number);
    const double of_linear = 1 / std::sqrt(static_cast<double>(matrix.cols));
    const int64_t bytes = data_bytes(matrix);
    std::byte* data = memory;
    matrix.data = data;
    memory += place_bytes(bytes);
    if (role == MatrixRole::router) {
      fill_router(matrix, data, of_linear, matrix_seed);
      return;
    }
    std::byte* scales = memory;
    matrix.scales = scales;
    memory += place_bytes(matrix.total_bytes() - bytes);
    fill_packed(matrix, data, scales, role == MatrixRole::table ? 1 : of_linear, matrix_seed, pool);
  });
}

Result<void> check_shape(const SyntheticShape& shape) {
  for (const SyntheticShapeField& field : kSyntheticShapeFields) {
    const int64_t size = shape.*field.member;
    if (size < 1 || size > kMostOfAShape) {
      return fail(ErrorCode::invalid_argument, "{} must be from 1 to {}, not {}", field.key,
                  kMostOfAShape, size);
    }
  }
  struct Divisible {
    std::string_view what;
    int64_t size;
    int64_t by;
  };
  const int64_t group = kMxfp4GroupSize;
  for (const Divisible& rule :
       {Divisible{"hidden", shape.hidden, group},
        Divisible{"intermediate", shape.intermediate, group},
        Divisible{"heads times head_dim", shape.heads * shape.head_dim, group},
        Divisible{"head_dim", shape.head_dim, 4}}) {
    if (rule.size % rule.by == 0) continue;
    return fail(ErrorCode::invalid_argument, "{} = {} is not a multiple of {}", rule.what,
                rule.size, rule.by);
  }
  if (shape.heads * shape.head_dim > kMostOfAShape) {
    return fail(ErrorCode::invalid_argument, "heads times head_dim must be at most {}, not {}",
                kMostOfAShape, shape.heads * shape.head_dim);
  }
  return {};
}

}  // namespace

Result<ModelConfig> synthetic_config(const SyntheticShape& shape) {
  TETRAD_TRY(check_shape(shape));
  json::object config = {{"model_type", "minimax_m2"},
                         {"architectures", {"MiniMaxM2ForCausalLM"}},
                         {"rotary_dim", shape.head_dim / 2},
                         {"rope_theta", 5e6},
                         {"rms_norm_eps", 1e-6},
                         {"max_position_embeddings", 204800}};
  for (const SyntheticShapeField& field : kSyntheticShapeFields)
    config[field.config_key] = shape.*field.member;
  return ModelConfig::parse(config);
}

int64_t synthetic_weight_bytes(const ModelConfig& config) {
  MiniMaxM2Weights weights = empty_weights(config);
  int64_t bytes = 0;
  for_each_matrix_of(
      weights, [&](const WeightMatrix& matrix, MatrixRole) { bytes += matrix.total_bytes(); });
  return bytes;
}

Result<std::unique_ptr<MiniMaxM2>> make_synthetic_model(const ModelConfig& config, uint64_t seed,
                                                        ThreadPool& pool,
                                                        std::shared_ptr<Kernels> kernels,
                                                        int64_t other_bytes) {
  MiniMaxM2Weights weights = empty_weights(config);
  int64_t bytes = 0;
  for_each_matrix_of(weights, [&](const WeightMatrix& matrix, MatrixRole) {
    const int64_t data = data_bytes(matrix);
    bytes += place_bytes(data) + place_bytes(matrix.total_bytes() - data);
  });
  TETRAD_ASSIGN(const WeightMemory memory, allocate_weights(bytes, other_bytes));
  fill_weights(weights, memory.data, seed, pool);
  return std::make_unique<MiniMaxM2>(config, std::move(weights), memory.owner, std::move(kernels));
}

}  // namespace tetrad
