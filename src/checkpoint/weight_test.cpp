#include "checkpoint/weight.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

namespace tetrad {
namespace {

/// `values` as bytes that start at an odd address, as tensors of a mapped file may.
template <class T>
class OddlyAligned {
 public:
  explicit OddlyAligned(const std::vector<T>& values) : bytes_(values.size() * sizeof(T) + 1) {
    std::memcpy(bytes_.data() + 1, values.data(), values.size() * sizeof(T));
  }
  const std::byte* data() const { return bytes_.data() + 1; }

 private:
  std::vector<std::byte> bytes_;
};

std::vector<float> row_of(const WeightMatrix& matrix, int64_t row) {
  std::vector<float> out(static_cast<size_t>(matrix.cols));
  dequantize_row(matrix, row, out);
  return out;
}

/// The levels as the byte table of mxfp4_16 spec, section 1.1, gives them for permute look-ups.
std::vector<int> levels_of_the_byte_table() {
  std::vector<int> levels;
  for (const uint32_t word : {0xBFAD9881u, 0xF6EADDCFu, 0x26190D01u, 0x71594535u}) {
    for (int shift = 0; shift < 32; shift += 8)
      levels.push_back(static_cast<int8_t>(word >> shift));
  }
  return levels;
}

/// Two columns a byte, codes 0 … 15 in order: the even column is the low nibble.
const std::vector<uint8_t> kAllCodes = {0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE};

TEST(DequantizeMxfp4, EveryCodeWithEveryKindOfScale) {
  struct Case {
    uint16_t bits;
    double value;
  };
  const Case cases[] = {
      {0x3C00, 1.0},
      {0x0000, 0.0},
      {0x8000, -0.0},
      {0xC000, -2.0},
      {0x7BFF, 65504.0},
      {0x0001, 0x1p-24},               // the smallest subnormal
      {0x83FF, -(0x1p-14 - 0x1p-24)},  // the largest, negative
      {0x0400, 0x1p-14},               // the smallest normal
      {0x2E66, 1638 * 0x1p-14},        // 0.0999755859375
  };
  const std::vector<int> levels = levels_of_the_byte_table();
  const OddlyAligned<uint8_t> codes(kAllCodes);
  for (const Case& scale : cases) {
    const OddlyAligned<uint16_t> scales({scale.bits});
    const WeightMatrix matrix{.format = WeightFormat::mxfp4_16,
                              .rows = 1,
                              .cols = 16,
                              .data = codes.data(),
                              .scales = scales.data()};
    const std::vector<float> row = row_of(matrix, 0);
    for (size_t k = 0; k < 16; ++k)
      EXPECT_EQ(row[k], static_cast<float>(levels[k] * scale.value)) << scale.bits << " " << k;
  }
}

TEST(DequantizeMxfp4, GroupsAndRowsKeepTheirOwnScales) {
  // Row 0: all codes ascending, then all descending. Row 1: code 8 (level 1) everywhere.
  std::vector<uint8_t> bytes = kAllCodes;
  for (int pair = 7; pair >= 0; --pair)
    bytes.push_back(static_cast<uint8_t>((2 * pair) << 4 | (2 * pair + 1)));
  bytes.insert(bytes.end(), 16, 0x88);
  const OddlyAligned<uint8_t> codes(bytes);
  const OddlyAligned<uint16_t> scales({0x3C00, 0xB800, 0x4200, 0x0002});  // 1, -0.5, 3, 2^-23
  const WeightMatrix matrix{.format = WeightFormat::mxfp4_16,
                            .rows = 2,
                            .cols = 32,
                            .data = codes.data(),
                            .scales = scales.data()};
  EXPECT_EQ(row_of(matrix, 0),
            (std::vector<float>{-127, -104, -83, -65, -49,  -35,   -22,   -10,   1,     13,  25,
                                38,   53,   69,  89,  113,  -56.5, -44.5, -34.5, -26.5, -19, -12.5,
                                -6.5, -0.5, 5,   11,  17.5, 24.5,  32.5,  41.5,  52,    63.5}));
  std::vector<float> second(16, 3.0f);
  second.insert(second.end(), 16, 0x1p-23f);
  EXPECT_EQ(row_of(matrix, 1), second);
}

TEST(DequantizeMxfp4, UsesTheCodebookOfTheMatrix) {
  const OddlyAligned<uint8_t> codes(kAllCodes);
  const OddlyAligned<uint16_t> scales({0x4000});
  const WeightMatrix matrix{
      .format = WeightFormat::mxfp4_16,
      .rows = 1,
      .cols = 16,
      .data = codes.data(),
      .scales = scales.data(),
      .codebook = {-128, -102, -83, -66, -51, -36, -23, -9, 4, 18, 32, 46, 62, 80, 100, 127}};
  EXPECT_EQ(row_of(matrix, 0), (std::vector<float>{-256, -204, -166, -132, -102, -72, -46, -18, 8,
                                                   36, 64, 92, 124, 160, 200, 254}));
}

/// E4M3FN by its definition (minimax-m2 spec, section 2.3).
double e4m3(int code) {
  const double sign = code >= 128 ? -1 : 1;
  const int exponent = code / 8 % 16;
  const int fraction = code % 8;
  if (exponent == 15 && fraction == 7) return std::nan("");
  if (exponent == 0) return sign * fraction / 8.0 * std::pow(2.0, -6);
  return sign * (1 + fraction / 8.0) * std::pow(2.0, exponent - 7);
}

TEST(DequantizeFp8, EveryCodeAndEveryEdgeOfTheBlockGrid) {
  constexpr int64_t kRows = 130;
  constexpr int64_t kCols = 257;
  std::vector<uint8_t> bytes;
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t col = 0; col < kCols; ++col)
      bytes.push_back(static_cast<uint8_t>(row * 3 + col));
  }
  const std::vector<float> scale_values = {1.0f, 0.5f, -3.0f, 0x1p-20f, 1e-3f, 0.0f};  // [2, 3]
  const OddlyAligned<uint8_t> codes(bytes);
  const OddlyAligned<float> scales(scale_values);
  const WeightMatrix matrix{.format = WeightFormat::fp8_block,
                            .rows = kRows,
                            .cols = kCols,
                            .data = codes.data(),
                            .scales = scales.data()};
  for (int64_t row = 0; row < kRows; ++row) {
    const std::vector<float> values = row_of(matrix, row);
    for (int64_t col = 0; col < kCols; ++col) {
      const size_t block = (row >= 128 ? 3u : 0u) + (col >= 256 ? 2u : col >= 128 ? 1u : 0u);
      const int code = static_cast<int>((row * 3 + col) % 256);
      const float expected = static_cast<float>(e4m3(code)) * scale_values[block];
      const float found = values[static_cast<size_t>(col)];
      if (std::isnan(expected)) {
        EXPECT_TRUE(std::isnan(found)) << row << " " << col;
      } else {
        ASSERT_EQ(found, expected) << row << " " << col;
      }
    }
  }
}

TEST(DequantizeDense, EveryHalfAsTheCompilerReadsIt) {
  std::vector<uint16_t> all;
  for (uint32_t bits = 0; bits < 0x10000; ++bits)
    all.push_back(static_cast<uint16_t>(bits));
  const OddlyAligned<uint16_t> data(all);
  const WeightMatrix matrix{
      .format = WeightFormat::f16, .rows = 256, .cols = 256, .data = data.data()};
  for (int64_t row = 0; row < 256; ++row) {
    const std::vector<float> values = row_of(matrix, row);
    for (size_t col = 0; col < 256; ++col) {
      _Float16 oracle;
      std::memcpy(&oracle, &all[static_cast<size_t>(row) * 256 + col], sizeof oracle);
      const auto expected = static_cast<float>(oracle);
      if (std::isnan(expected)) {
        EXPECT_TRUE(std::isnan(values[col]));
      } else {
        ASSERT_EQ(values[col], expected) << row << " " << col;
      }
    }
  }
}

TEST(DequantizeDense, Bf16AndF32) {
  const OddlyAligned<uint16_t> halves({0x3F80, 0xC000, 0x0001, 0x42F7, 0x8000, 0x7F7F});
  const WeightMatrix bf16{
      .format = WeightFormat::bf16, .rows = 2, .cols = 3, .data = halves.data()};
  EXPECT_EQ(row_of(bf16, 0), (std::vector<float>{1.0f, -2.0f, 0x1p-133f}));
  EXPECT_EQ(row_of(bf16, 1), (std::vector<float>{123.5f, -0.0f, 0x1.FEp127f}));

  const OddlyAligned<float> singles({1.5f, -0.1f, 3e38f, 1e-44f});
  const WeightMatrix f32{.format = WeightFormat::f32, .rows = 2, .cols = 2, .data = singles.data()};
  EXPECT_EQ(row_of(f32, 0), (std::vector<float>{1.5f, -0.1f}));
  EXPECT_EQ(row_of(f32, 1), (std::vector<float>{3e38f, 1e-44f}));
}

TEST(WeightMatrix, SizesInBytes) {
  WeightMatrix matrix{.format = WeightFormat::f32, .rows = 130, .cols = 144};
  EXPECT_EQ(matrix.row_bytes(), 576);
  EXPECT_EQ(matrix.total_bytes(), 74880);
  matrix.format = WeightFormat::bf16;
  EXPECT_EQ(matrix.row_bytes(), 288);
  EXPECT_EQ(matrix.total_bytes(), 37440);
  matrix.format = WeightFormat::f16;
  EXPECT_EQ(matrix.total_bytes(), 37440);
  matrix.format = WeightFormat::mxfp4_16;
  EXPECT_EQ(matrix.row_bytes(), 72);
  EXPECT_EQ(matrix.total_bytes(), 130 * (72 + 9 * 2));  // 5 bits a weight
  matrix.format = WeightFormat::fp8_block;
  EXPECT_EQ(matrix.row_bytes(), 144);
  EXPECT_EQ(matrix.total_bytes(), 130 * 144 + 2 * 2 * 4);
}

}  // namespace
}  // namespace tetrad
