// What stands between the product and attention, on the emulation: q against sums in double, the
// cache's bytes against the reference's rounding, and a token that does not notice its neighbours.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/gpu/gpu_test_util.h"
#include "kernels/gpu/qk_norm_rope.h"
#include "kernels/kernels.h"

namespace tetrad::gpu {
namespace {

using testing_gpu::Emulation;
using testing_gpu::kEmulations;
using testing_gpu::random_floats;

constexpr uint8_t kUntouched = 0x5A;

struct RopeShape {
  uint32_t head_dim, rotary_dim, num_heads, num_kv_heads;
};
constexpr RopeShape kRopeShapes[] = {{128, 64, 6, 1},
                                     {128, 64, 48, 8},  // MiniMax-M2
                                     {64, 64, 4, 2},
                                     {64, 32, 2, 2}};

/// Tokens of qkv at any positions, their slots in a cache of kBlocks blocks.
struct RopeCase {
  static constexpr uint32_t kBlocks = 3;
  static constexpr double kTheta = 5e6;
  static constexpr float kEps = 1e-6f;

  RopeCase(const RopeShape& of, std::vector<int32_t> at, std::vector<int64_t> to)
      : shape(of), positions(std::move(at)), slots(std::move(to)) {
    qkv = random_floats(positions.size() * width(), 3, 17);
    q_norm = random_floats(q_size(), 0.5f, 18);
    k_norm = random_floats(kv_size(), 0.5f, 19);
    // Values that are saturated, that are ties, that are subnormal and that are zero.
    float* v = qkv.data() + q_size() + kv_size();
    const float special[] = {1e6f,
                             -1e6f,
                             448 * v_scale,
                             1.0625f * v_scale,
                             -1.1875f * v_scale,
                             0x1p-10f * v_scale,
                             0x1p-8f * v_scale,
                             0.0f};
    std::copy(std::begin(special), std::end(special), v);
    // And a token of ties alone: x / scale and x times a reciprocal round to different codes there.
    if (positions.size() < 2) return;
    v += width();
    for (uint32_t i = 0; i < kv_size(); ++i) {
      const auto code = static_cast<uint8_t>(i % 126);
      v[i] = (f8_e4m3_to_float(code) + f8_e4m3_to_float(code + 1)) / 2 * v_scale;
    }
  }

  uint32_t q_size() const { return shape.num_heads * shape.head_dim; }
  uint32_t kv_size() const { return shape.num_kv_heads * shape.head_dim; }
  uint32_t width() const { return q_size() + 2 * kv_size(); }
  size_t cache_bytes() const { return size_t{kBlocks} * kKvBlockSize * kv_size(); }
  const float* row(size_t token) const { return qkv.data() + token * width(); }
  size_t at(int64_t slot, uint32_t i) const {
    return ((static_cast<size_t>(slot / 16) * shape.num_kv_heads + i / shape.head_dim) * 16 +
            static_cast<size_t>(slot % 16)) *
               shape.head_dim +
           i % shape.head_dim;
  }

  /// Cosines and sines as the host makes them.
  std::vector<float> rotation() const {
    std::vector<float> table;
    const int32_t last = *std::max_element(positions.begin(), positions.end());
    for (int32_t position = 0; position <= last; ++position) {
      for (uint32_t j = 0; j < shape.rotary_dim / 2; ++j) {
        const double angle = position * std::pow(kTheta, -2.0 * j / shape.rotary_dim);
        table.push_back(static_cast<float>(std::cos(angle)));
        table.push_back(static_cast<float>(std::sin(angle)));
      }
    }
    return table;
  }

  /// `size` normed and rotated numbers of x, in double.
  std::vector<double> expected(const float* x, const std::vector<float>& norm,
                               int32_t position) const {
    double squares = 0;
    for (size_t i = 0; i < norm.size(); ++i)
      squares += static_cast<double>(x[i]) * x[i];
    const double inverse = 1 / std::sqrt(squares / static_cast<double>(norm.size()) + kEps);
    std::vector<double> out(norm.size());
    for (size_t i = 0; i < norm.size(); ++i)
      out[i] = x[i] * inverse * norm[i];
    const uint32_t half = shape.rotary_dim / 2;
    for (size_t head = 0; head < norm.size(); head += shape.head_dim) {
      for (uint32_t j = 0; j < half; ++j) {
        const double angle = position * std::pow(kTheta, -2.0 * j / shape.rotary_dim);
        const double a = out[head + j];
        const double b = out[head + j + half];
        out[head + j] = a * std::cos(angle) - b * std::sin(angle);
        out[head + j + half] = b * std::cos(angle) + a * std::sin(angle);
      }
    }
    return out;
  }

  RopeShape shape;
  std::vector<int32_t> positions;
  std::vector<int64_t> slots;
  float q_factor = 0.37f;
  float k_scale = 0.013f;
  float v_scale = 0.021f;
  std::vector<float> qkv, q_norm, k_norm;
};

struct RopeResult {
  std::vector<uint16_t> q;
  std::vector<uint8_t> k, v;
  bool operator==(const RopeResult&) const = default;
};

class QkNormRopeTest : public testing::TestWithParam<testing_gpu::EmulationKind> {
 protected:
  static RopeResult run(const RopeCase& c, ThreadOrder order = ThreadOrder::ascending) {
    Emulation gpu(GetParam(), order);
    const auto tokens = static_cast<uint32_t>(c.positions.size());
    const std::vector<uint8_t> cache(c.cache_bytes(), kUntouched);
    const QkNormRopeArgs args{.qkv = gpu.copy(c.qkv),
                              .q_norm = gpu.copy(c.q_norm),
                              .k_norm = gpu.copy(c.k_norm),
                              .eps = RopeCase::kEps,
                              .q_size = c.q_size(),
                              .kv_size = c.kv_size(),
                              .head_dim = c.shape.head_dim,
                              .rotary_dim = c.shape.rotary_dim,
                              .rotation = gpu.copy(c.rotation()),
                              .positions = gpu.copy(c.positions),
                              .slot_mapping = gpu.copy(c.slots),
                              .q_factor = c.q_factor,
                              .q = gpu.zeros<uint16_t>(uint64_t{tokens} * c.q_size()),
                              .k_cache = gpu.copy(cache),
                              .v_cache = gpu.copy(cache),
                              .k_scale = c.k_scale,
                              .v_scale = c.v_scale};
    gpu.kernels().qk_norm_rope(args, tokens);
    gpu.check();
    return {gpu.read(args.q, uint64_t{tokens} * c.q_size()),
            gpu.read(args.k_cache, c.cache_bytes()), gpu.read(args.v_cache, c.cache_bytes())};
  }
};

TEST_P(QkNormRopeTest, QueriesAndKeysAreWhatDoublesGive) {
  for (const RopeShape& shape : kRopeShapes) {
    const RopeCase c(shape, {0, 1, 300, 4095}, {5, 16, 47, 0});
    const RopeResult result = run(c);
    for (size_t token = 0; token < c.positions.size(); ++token) {
      const std::vector<double> q = c.expected(c.row(token), c.q_norm, c.positions[token]);
      for (uint32_t i = 0; i < c.q_size(); ++i) {
        // A half has 11 bits; what cancels in the rotation leaves float's errors.
        const double want = q[i] * c.q_factor;
        ASSERT_NEAR(f16_to_float(result.q[token * c.q_size() + i]) / kE4m3Factor, want,
                    std::abs(want) * 0x1.01p-11 + 1e-5)
            << "token " << token << ", element " << i << ", head_dim " << shape.head_dim;
      }
      const std::vector<double> k =
          c.expected(c.row(token) + c.q_size(), c.k_norm, c.positions[token]);
      for (uint32_t i = 0; i < c.kv_size(); ++i) {
        // The code of the number itself, or of one that float's errors may make of it.
        const uint8_t code = result.k[c.at(c.slots[token], i)];
        const double error = 1e-5 * (std::abs(k[i]) + 1);
        const float low =
            f8_e4m3_to_float(float_to_f8_e4m3(static_cast<float>((k[i] - error) / c.k_scale)));
        const float high =
            f8_e4m3_to_float(float_to_f8_e4m3(static_cast<float>((k[i] + error) / c.k_scale)));
        ASSERT_GE(f8_e4m3_to_float(code), low) << "token " << token << ", element " << i;
        ASSERT_LE(f8_e4m3_to_float(code), high) << "token " << token << ", element " << i;
      }
    }
  }
}

TEST_P(QkNormRopeTest, ValuesAreTheReferencesBytesAndNothingElseIsWritten) {
  for (const RopeShape& shape : kRopeShapes) {
    // The third token is padding: it has no slot.
    const RopeCase c(shape, {7, 8, 9, 10}, {31, 0, -1, 17});
    const RopeResult result = run(c);
    std::vector<uint8_t> k(c.cache_bytes(), kUntouched);
    std::vector<uint8_t> v = k;
    const KvCacheLayer cache{.dtype = DType::f8_e4m3,
                             .k_scale = c.k_scale,
                             .v_scale = c.v_scale,
                             .k = reinterpret_cast<std::byte*>(k.data()),
                             .v = reinterpret_cast<std::byte*>(v.data()),
                             .num_blocks = RopeCase::kBlocks,
                             .num_kv_heads = shape.num_kv_heads,
                             .head_dim = shape.head_dim};
    for (size_t token = 0; token < c.slots.size(); ++token) {
      if (c.slots[token] < 0) continue;
      std::vector<float> values(c.row(token) + c.q_size() + c.kv_size(), c.row(token) + c.width());
      const Activations one{values.data(), 1, c.kv_size()};
      make_reference_kernels()->write_kv(one, one, {&c.slots[token], 1}, cache);
    }
    EXPECT_EQ(result.v, v) << "head_dim " << shape.head_dim;
    // Of the keys, only where they are: the reference was given others.
    for (size_t i = 0; i < k.size(); ++i) {
      const size_t slot = i / (size_t{kKvBlockSize} * c.kv_size()) * 16 + i / shape.head_dim % 16;
      const bool is_used =
          std::find(c.slots.begin(), c.slots.end(), static_cast<int64_t>(slot)) != c.slots.end();
      if (!is_used) {
        ASSERT_EQ(result.k[i], kUntouched) << "byte " << i;
      }
    }
  }
}

TEST_P(QkNormRopeTest, ATokensBitsDependNeitherOnItsNeighboursNorOnTheThreadsOrder) {
  for (const RopeShape& shape : {kRopeShapes[0], kRopeShapes[3]}) {
    const RopeCase c(shape, {3, 1000, 11}, {1, 33, 18});
    const RopeResult all = run(c);
    EXPECT_EQ(run(c, ThreadOrder::descending), all);
    EXPECT_EQ(run(c, ThreadOrder::shuffled), all);
    RopeCase one = c;
    one.positions = {1000};
    one.slots = {33};
    one.qkv.assign(c.row(1), c.row(2));
    const RopeResult alone = run(one);
    EXPECT_TRUE(std::equal(alone.q.begin(), alone.q.end(), all.q.begin() + c.q_size()));
    for (uint32_t i = 0; i < c.kv_size(); ++i) {
      ASSERT_EQ(alone.k[c.at(33, i)], all.k[c.at(33, i)]) << i;
      ASSERT_EQ(alone.v[c.at(33, i)], all.v[c.at(33, i)]) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fragments, QkNormRopeTest, testing::ValuesIn(kEmulations),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace tetrad::gpu
