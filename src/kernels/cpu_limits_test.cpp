#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "kernels/cpu/limit_kernels.h"
#include "kernels/cpu_limits.h"

namespace tetrad {
namespace {

using testing::AllOf;
using testing::Gt;
using testing::Lt;

using OperandBytes = std::array<unsigned char, kMaxProductRows * kMaxProductBytes>;

/// Whole numbers from least to most, as elements of a format: their products add up exactly in
/// any order.
template <class Element, class FromNumber>
OperandBytes random_operands(std::mt19937& random, int least, int most, FromNumber from_number) {
  std::uniform_int_distribution<int> numbers(least, most);
  OperandBytes bytes;
  for (size_t at = 0; at < bytes.size(); at += sizeof(Element)) {
    const Element element = from_number(numbers(random));
    std::memcpy(bytes.data() + at, &element, sizeof element);
  }
  return bytes;
}

template <class Element>
Element element_at(const OperandBytes& bytes, int64_t offset) {
  Element element;
  std::memcpy(&element, bytes.data() + offset, sizeof element);
  return element;
}

/// What ProductKernel::run says it returns, by plain code.
template <class Element, class ToA, class ToB>
double plain_products(const ProductKernel& kernel, const OperandBytes& a, const OperandBytes& b,
                      int64_t repeats, ToA to_a, ToB to_b) {
  constexpr auto kSize = static_cast<int64_t>(sizeof(Element));
  double sum = 0;
  for (int64_t i = 0; i < kernel.a_rows; ++i) {
    for (int64_t j = 0; j < kernel.b_rows; ++j) {
      for (int64_t at = 0; at < kernel.vector_bytes; at += kSize) {
        sum += to_a(element_at<Element>(a, i * kernel.vector_bytes + at)) *
               to_b(element_at<Element>(b, j * kernel.vector_bytes + at));
      }
    }
  }
  return sum * static_cast<double>(repeats);
}

uint64_t plain_words(const std::vector<unsigned char>& bytes) {
  uint64_t sum = 0;
  for (size_t at = 0; at < bytes.size(); at += sizeof sum) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, sizeof word);
    sum ^= word;
  }
  return sum;
}

std::vector<unsigned char> random_bytes(std::mt19937& random, size_t count, unsigned limit) {
  std::vector<unsigned char> bytes(count);
  for (unsigned char& byte : bytes)
    byte = static_cast<unsigned char>(random() % limit);
  return bytes;
}

void check_products(const LimitKernels& kernels, std::mt19937& random, int64_t repeats) {
  const auto number = [](auto value) { return static_cast<double>(value); };
  const auto to_byte = [](int value) { return static_cast<unsigned char>(value); };
  const auto to_signed = [](unsigned char byte) {
    return static_cast<double>(static_cast<signed char>(byte));
  };
  const auto a8 = random_operands<unsigned char>(random, 0, 127, to_byte);
  const auto b8 = random_operands<unsigned char>(random, -128, 127, to_byte);
  EXPECT_EQ(kernels.int8.run(a8.data(), b8.data(), repeats),
            plain_products<unsigned char>(kernels.int8, a8, b8, repeats, number, to_signed))
      << kernels.int8.isa;

  const auto to_bf16 = [](int value) { return float_to_bf16(static_cast<float>(value)); };
  const auto a16 = random_operands<uint16_t>(random, -128, 128, to_bf16);
  const auto b16 = random_operands<uint16_t>(random, -128, 128, to_bf16);
  EXPECT_EQ(kernels.bf16.run(a16.data(), b16.data(), repeats),
            plain_products<uint16_t>(kernels.bf16, a16, b16, repeats, bf16_to_float, bf16_to_float))
      << kernels.bf16.isa;

  const auto to_float = [](int value) { return static_cast<float>(value); };
  const auto a32 = random_operands<float>(random, -128, 128, to_float);
  const auto b32 = random_operands<float>(random, -128, 128, to_float);
  EXPECT_EQ(kernels.f32.run(a32.data(), b32.data(), repeats),
            plain_products<float>(kernels.f32, a32, b32, repeats, number, number))
      << kernels.f32.isa;
}

TEST(CpuLimits, EveryKernelMultipliesAllThatItCounts) {
  std::mt19937 random(1);
  for (auto kernels = available_limit_kernels(); *kernels != nullptr; ++kernels) {
    for (const int64_t repeats : {1, 2, 7})
      check_products(**kernels, random, repeats);
  }
}

TEST(CpuLimits, EveryKernelReadsAllThatItCounts) {
  std::mt19937 random(2);
  for (const int64_t units : {1, 3, 8}) {
    const auto bytes =
        random_bytes(random, static_cast<size_t>(units * kReadUnit * kReadStreams), 256);
    for (auto kernels = available_limit_kernels(); *kernels != nullptr; ++kernels)
      EXPECT_EQ((*kernels)->read(bytes.data(), units * kReadUnit), plain_words(bytes))
          << (*kernels)->isa;
  }
}

TEST(CpuLimits, EveryKernelLooksUpAllThatItCounts) {
  std::mt19937 random(3);
  const auto table = random_bytes(random, 16, 256);
  for (const size_t count : {512, 1536, 4096}) {
    const auto indices = random_bytes(random, count, 64);
    std::vector<unsigned char> found(count);
    for (size_t i = 0; i < count; ++i)
      found[i] = table[indices[i] % 16];
    for (auto kernels = available_limit_kernels(); *kernels != nullptr; ++kernels) {
      const auto look_up = [&](int64_t repeats) {
        return (*kernels)->look_up(table.data(), indices.data(), static_cast<int64_t>(count),
                                   repeats);
      };
      EXPECT_EQ(look_up(1), plain_words(found)) << (*kernels)->isa;
      EXPECT_EQ(look_up(3), plain_words(found)) << (*kernels)->isa;
      EXPECT_EQ(look_up(2), 0u) << (*kernels)->isa;
    }
  }
}

TEST(CpuLimits, GenericKernelsComeLast) {
  auto kernels = available_limit_kernels();
  while (kernels[1] != nullptr)
    ++kernels;
  EXPECT_STREQ((*kernels)->isa, "generic");
}

TEST(CpuLimits, TheProbeMeasuresAgainAndAgain) {
  auto probe = CpuLimitProbe::create(std::make_shared<ThreadPool>(2)).value();
  CpuLimitProbe moved = std::move(probe);
  for (int time = 0; time < 2; ++time) {
    // Little where others are at work, and never what no machine does.
    EXPECT_THAT(moved.read_gb_per_s(), AllOf(Gt(0), Lt(1e4)));
    EXPECT_THAT(moved.int8_gops(), AllOf(Gt(0), Lt(1e6)));
  }
}

}  // namespace
}  // namespace tetrad
