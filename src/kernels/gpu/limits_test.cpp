#include "kernels/gpu/limits.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/gpu/gpu_test_util.h"

namespace tetrad::gpu {
namespace {

using testing_gpu::Emulation;
using testing_gpu::kEmulations;

class LimitsTest : public testing::TestWithParam<testing_gpu::EmulationKind> {};

TEST_P(LimitsTest, MultiplyingRunsWithEitherNumbers) {
  Emulation gpu(GetParam());
  auto* out = gpu.zeros<float>(1);
  for (const uint32_t numbers_vary : {0u, 1u})
    gpu.kernels().multiply_add_peak(
        {.rounds = kProductSteps, .numbers_vary = numbers_vary, .out = out}, 2);
  gpu.check();
  // It is written so that the products are not left out, and only if their sum is 1.
  EXPECT_EQ(gpu.read(out, 1).at(0), 0.0f);
}

/// Means of the halves' sizes and squares.
struct Spread {
  double mean = 0;
  double square = 0;
  explicit Spread(bool vary) {
    constexpr uint32_t kWords = 4096;
    for (uint32_t place = 0; place < kWords; ++place) {
      const uint32_t word = nvidia::halves_for_place(place, vary, 0xB8003800u);
      for (const uint32_t half : {word & 0xFFFFu, word >> 16}) {
        const double value = f16_to_float(static_cast<uint16_t>(half));
        EXPECT_LE(std::abs(value), 2) << place;
        mean += value / (2 * kWords);
        square += value * value / (2 * kWords);
      }
    }
  }
};

TEST(MultiplyAddNumbers, SpreadOrAreNearOne) {
  // The difference of two even distributions over 0 to 2: variance 2 / 3.
  const Spread varied(true);
  EXPECT_NEAR(varied.mean, 0, 0.03);
  EXPECT_NEAR(varied.square, 2.0 / 3, 0.03);
  // Halves of 0.5 to 1, one positive and one negative.
  const Spread near(false);
  EXPECT_NEAR(near.mean, 0, 0.01);
  EXPECT_NEAR(near.square, 7.0 / 12, 0.02);
}

INSTANTIATE_TEST_SUITE_P(Fragments, LimitsTest, testing::ValuesIn(kEmulations),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace tetrad::gpu
