#include "checkpoint/weight_slice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <span>
#include <vector>

namespace tetrad {
namespace {

using testing::HasSubstr;

constexpr int64_t kWholeRows = 320;
constexpr int64_t kWholeCols = 384;

/// A matrix of random bytes; of scales, such that no value is a NaN.
class RandomMatrix {
 public:
  explicit RandomMatrix(WeightFormat format, const ScaleLayout& layout = {}) {
    matrix_.format = format;
    matrix_.rows = kWholeRows;
    matrix_.cols = kWholeCols;
    matrix_.scale_layout = layout;
    matrix_.global_scale = 3;
    std::mt19937 random(static_cast<uint32_t>(format));
    data_.resize(static_cast<size_t>(kWholeRows * matrix_.row_bytes()));
    for (std::byte& byte : data_)
      byte = static_cast<std::byte>(random());
    scales_.resize(static_cast<size_t>(matrix_.num_scales()) *
                   dtype_size(matrix_.layout_of_scales().dtype));
    for (std::byte& byte : scales_)
      byte = static_cast<std::byte>(random() % 60);
    matrix_.data = data_.data();
    matrix_.scales = scales_.data();
  }

  const WeightMatrix& operator*() const { return matrix_; }
  WeightMatrix* operator->() { return &matrix_; }

 private:
  WeightMatrix matrix_;
  std::vector<std::byte> data_, scales_;
};

/// Whether a slice has the values that the whole has there, bit by bit.
void expect_part(const WeightMatrix& slice, const WeightMatrix& whole, int64_t first_row,
                 int64_t first_col) {
  std::vector<float> got(static_cast<size_t>(slice.cols));
  std::vector<float> wanted(static_cast<size_t>(whole.cols));
  for (int64_t row = 0; row < slice.rows; ++row) {
    dequantize_row(slice, row, got);
    dequantize_row(whole, first_row + row, wanted);
    ASSERT_EQ(std::memcmp(got.data(), wanted.data() + first_col, got.size() * sizeof(float)), 0)
        << weight_format_name(whole.format) << " row " << row << " from " << first_row << ", "
        << first_col;
  }
}

std::vector<RandomMatrix> matrices_of_all_formats() {
  std::vector<RandomMatrix> matrices;
  for (const WeightFormat format : {WeightFormat::f32, WeightFormat::f16, WeightFormat::bf16,
                                    WeightFormat::mxfp4_16, WeightFormat::fp8_block})
    matrices.emplace_back(format);
  matrices.emplace_back(WeightFormat::codebook4, ScaleLayout{DType::f16, 1, 32});
  matrices.emplace_back(WeightFormat::fp8, ScaleLayout{DType::f32, kWholeRows, kWholeCols});
  matrices.emplace_back(WeightFormat::int4, ScaleLayout{DType::bf16, 1, 128});
  matrices.emplace_back(WeightFormat::int8, ScaleLayout{DType::f32, 1, kWholeCols});
  matrices.emplace_back(WeightFormat::mxfp4, ScaleLayout{DType::f8_e8m0, 1, 32});
  matrices.emplace_back(WeightFormat::nvfp4, ScaleLayout{DType::f8_e4m3, 1, 16});
  return matrices;
}

TEST(WeightSlice, HasTheValuesOfItsPart) {
  for (const RandomMatrix& random : matrices_of_all_formats()) {
    const WeightMatrix& whole = *random;
    // Within a block of 128, and at its edges.
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 128},
                                     {128, kWholeRows},
                                     {192, 256},
                                     {16, 48},
                                     {0, kWholeRows}}) {
      SliceMemory memory;
      const auto rows = slice_rows(whole, begin, end, memory);
      ASSERT_TRUE(rows) << rows.error().message;
      EXPECT_EQ(rows->rows, end - begin);
      expect_part(*rows, whole, begin, 0);
    }
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 128},
                                     {128, kWholeCols},
                                     {192, 384},
                                     {16, 48},
                                     {0, kWholeCols}}) {
      SliceMemory memory;
      const auto cols = slice_columns(whole, begin, end, memory);
      ASSERT_TRUE(cols) << cols.error().message;
      EXPECT_EQ(cols->cols, end - begin);
      expect_part(*cols, whole, 0, begin);
    }
  }
}

TEST(WeightSlice, RowsAreViews) {
  for (const RandomMatrix& random : matrices_of_all_formats()) {
    SliceMemory memory;
    const WeightMatrix rows = slice_rows(*random, 256, 320, memory).value();
    EXPECT_EQ(rows.data, (*random).data + 256 * (*random).row_bytes());
    // One scale of a whole matrix has been told twice.
    if (rows.format == WeightFormat::fp8) continue;
    EXPECT_EQ(memory.bytes(), 0) << weight_format_name(rows.format);
  }
}

TEST(WeightSlice, ColumnsTakeWhatTheyArePacked) {
  const RandomMatrix whole(WeightFormat::mxfp4_16);
  SliceMemory memory;
  const WeightMatrix columns = slice_columns(*whole, 48, 96, memory).value();
  EXPECT_EQ(columns.format, WeightFormat::mxfp4_16);
  EXPECT_EQ(memory.bytes(), kWholeRows * 48 * 5 / 8);
  EXPECT_EQ(columns.total_bytes(), memory.bytes());
}

TEST(WeightSlice, MemoryIsAlignedAndNobodyElses) {
  SliceMemory memory;
  std::vector<std::span<std::byte>> pieces;
  int64_t total = 0;
  // The last does not fit behind the others, and is larger than what is taken at once.
  for (const int64_t bytes : {int64_t{1}, int64_t{100}, int64_t{64}, int64_t{65} << 20}) {
    const std::span<std::byte> piece(memory.allocate(bytes), static_cast<size_t>(bytes));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(piece.data()) % 64, 0U);
    std::ranges::fill(piece, static_cast<std::byte>(pieces.size() + 1));
    pieces.push_back(piece);
    total += bytes;
  }
  EXPECT_EQ(memory.bytes(), total);
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto own = static_cast<std::byte>(i + 1);
    EXPECT_TRUE(std::ranges::all_of(pieces[i], [&](std::byte byte) { return byte == own; })) << i;
  }
}

TEST(WeightSlice, WholeBlocksStayBlocks) {
  const RandomMatrix whole(WeightFormat::fp8_block);
  SliceMemory memory;
  EXPECT_EQ(slice_rows(*whole, 128, 256, memory)->format, WeightFormat::fp8_block);
  EXPECT_EQ(slice_columns(*whole, 256, 384, memory)->format, WeightFormat::fp8_block);
  const WeightMatrix cut = slice_columns(*whole, 192, 384, memory).value();
  EXPECT_EQ(cut.format, WeightFormat::fp8);
  EXPECT_EQ(cut.scale_layout.cols_per_scale, 64);
  // And may be cut again.
  expect_part(slice_rows(cut, 96, 192, memory).value(), *whole, 96, 192);
}

TEST(WeightSlice, RefusesWhatItCannotCut) {
  SliceMemory memory;
  const RandomMatrix packed(WeightFormat::mxfp4_16);
  auto error = slice_columns(*packed, 8, 48, memory).error();
  EXPECT_EQ(error.code, ErrorCode::unsupported);
  EXPECT_THAT(error.message, HasSubstr("columns 8 to 48 of a matrix of mxfp4_16 are no whole "
                                       "groups of 16"));
  EXPECT_FALSE(slice_columns(*packed, 16, 40, memory));
  const RandomMatrix int4(WeightFormat::int4, ScaleLayout{DType::f32, 1, 128});
  EXPECT_FALSE(slice_columns(*int4, 4, 16, memory));
  RandomMatrix transposed(WeightFormat::codebook4, ScaleLayout{DType::f16, 1, 16});
  transposed->codes_transposed = true;
  error = slice_rows(*transposed, 0, 16, memory).error();
  EXPECT_EQ(error.code, ErrorCode::unsupported);
  EXPECT_THAT(error.message, HasSubstr("codebook4 with transposed codes"));
  EXPECT_EQ(slice_rows(*packed, 0, kWholeRows + 1, memory).error().code, ErrorCode::internal);
}

}  // namespace
}  // namespace tetrad
