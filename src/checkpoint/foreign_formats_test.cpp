// Formats of other programs, from bytes written by hand to values worked out by hand (mxfp4_16
// spec, section 7).

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <deque>
#include <limits>

#include "checkpoint/module_tensors.h"

namespace tetrad {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

/// The tensors of one module, which own their bytes; data begin at odd addresses, as they may in a
/// mapped file.
class Module {
 public:
  template <class T>
  Module& add(std::string_view name, DType dtype, std::vector<int64_t> shape,
              const std::vector<T>& values) {
    std::vector<std::byte>& bytes = memory_.emplace_back(values.size() * sizeof(T) + 1);
    if (!values.empty()) std::memcpy(bytes.data() + 1, values.data(), bytes.size() - 1);
    views_.push_back({dtype, std::move(shape), std::span(bytes).subspan(1)});
    tensors_.insert_or_assign(name, &views_.back());
    return *this;
  }

  Result<WeightMatrix> read(int64_t rows, int64_t cols, const CodeMeaning& meaning = {}) const {
    return weight_matrix_of(tensors_, rows, cols, meaning);
  }

  /// All rows of a matrix that must be of `format`.
  std::vector<std::vector<float>> rows(WeightFormat format, int64_t rows, int64_t cols,
                                       const CodeMeaning& meaning = {}) const {
    const auto matrix = read(rows, cols, meaning);
    if (!matrix) {
      ADD_FAILURE() << matrix.error().message;
      return {};
    }
    EXPECT_EQ(matrix->format, format) << weight_format_name(matrix->format);
    std::vector<std::vector<float>> result;
    for (int64_t row = 0; row < rows; ++row) {
      std::vector<float>& values = result.emplace_back(static_cast<size_t>(cols));
      dequantize_row(*matrix, row, values);
    }
    return result;
  }

 private:
  std::deque<std::vector<std::byte>> memory_;
  std::deque<TensorView> views_;
  ModuleTensors tensors_;
};

using Row = std::vector<float>;

// ---- 7.1: pack-quantized ----

/// [2, 16]: row 0 has the values -8 … 7, row 1 eight zeros, then 7 and -8 in turn.
Module int4_module() {
  Module module;
  module
      .add<uint32_t>("weight_packed", DType::i32, {2, 2},
                     {0x76543210, 0xFEDCBA98, 0x88888888, 0x0F0F0F0F})
      .add<int64_t>("weight_shape", DType::i64, {2}, {2, 16});
  return module;
}

TEST(PackQuantized, Int4InGroups) {
  Module module = int4_module();
  // BF16 0.5, 2, -1, 0.25
  module.add<uint16_t>("weight_scale", DType::bf16, {2, 2}, {0x3F00, 0x4000, 0xBF80, 0x3E80});
  EXPECT_THAT(module.rows(WeightFormat::int4, 2, 16),
              ElementsAre(Row{-4, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0, 2, 4, 6, 8, 10, 12, 14},
                          Row{0, 0, 0, 0, 0, 0, 0, 0, 1.75, -2, 1.75, -2, 1.75, -2, 1.75, -2}));
  // 2 x 16 weights in 16 bytes, 4 scales in 8.
  EXPECT_EQ(module.read(2, 16)->total_bytes(), 16 + 8);
}

TEST(PackQuantized, ZeroPointsArePackedAlongTheRows) {
  Module module = int4_module();
  module.add<uint16_t>("weight_scale", DType::f16, {2, 2}, {0x3800, 0x4000, 0xBC00, 0x3400});
  // Row 0 is the lowest nibble: group 0 has 11 - 8 = 3 and 0 - 8 = -8, group 1 has -1 and 7.
  module.add<uint32_t>("weight_zero_point", DType::i32, {1, 2}, {0x0B, 0xF7});
  EXPECT_THAT(
      module.rows(WeightFormat::int4, 2, 16),
      ElementsAre(Row{-5.5, -5, -4.5, -4, -3.5, -3, -2.5, -2, 2, 4, 6, 8, 10, 12, 14, 16},
                  Row{-8, -8, -8, -8, -8, -8, -8, -8, 0, -3.75, 0, -3.75, 0, -3.75, 0, -3.75}));
  EXPECT_EQ(module.read(2, 16)->total_bytes(), 16 + 8 + 8);
}

TEST(PackQuantized, ZeroPointsOfTheNinthRowAreInTheNextWord) {
  Module module;
  module.add<uint32_t>("weight_packed", DType::i32, {9, 1}, std::vector<uint32_t>(9, 0x99999999))
      .add<int64_t>("weight_shape", DType::i64, {2}, {9, 8})
      .add<float>("weight_scale", DType::f32, {9, 1}, Row(9, 1.0f))
      .add<uint32_t>("weight_zero_point", DType::i32, {2, 1}, {0x76543210, 0xFFFFFFFA});
  const auto rows = module.rows(WeightFormat::int4, 9, 8);
  ASSERT_EQ(rows.size(), 9u);
  for (size_t row = 0; row < 8; ++row)
    EXPECT_THAT(rows[row], Each(1.0f - (static_cast<float>(row) - 8))) << row;
  EXPECT_THAT(rows[8], Each(1.0f - 2.0f));
}

TEST(PackQuantized, ColumnsMayBelongToGroupsInAnyOrder) {
  Module module = int4_module();
  module.add<float>("weight_scale", DType::f32, {2, 2}, {0.5, 2, -1, 0.25})
      .add<uint32_t>("weight_zero_point", DType::i32, {1, 2}, {0x88, 0xF7})
      .add<int32_t>("weight_g_idx", DType::i32, {16},
                    {1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0});
  const auto rows = module.rows(WeightFormat::int4, 2, 16);
  EXPECT_THAT(rows,
              ElementsAre(Row{-14, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 2, 4, 6, 8, 10, 12, 14, 3.5},
                          Row{-1.75, 0, 0, 0, 0, 0, 0, 0, 0, -3.75, 0, -3.75, 0, -3.75, 0, 8}));
}

TEST(PackQuantized, RowsEndInsideAWord) {
  Module module;
  module.add<uint32_t>("weight_packed", DType::i32, {2, 2}, {0x11111111, 0xFFFFFFF2, 0, 0xFFFFFFF9})
      .add<int32_t>("weight_shape", DType::i32, {2}, {2, 9})
      .add<float>("weight_scale", DType::f32, {2, 1}, {1, 10});
  EXPECT_THAT(module.rows(WeightFormat::int4, 2, 9),
              ElementsAre(Row{-7, -7, -7, -7, -7, -7, -7, -7, -6},
                          Row{-80, -80, -80, -80, -80, -80, -80, -80, 10}));
}

TEST(PackQuantized, Int8) {
  Module module;
  module
      .add<uint32_t>("weight_packed", DType::i32, {2, 2},
                     {0x81FF8000, 0xFFFFFF7F, 0x80808080, 0xFFFFFF90})
      .add<int64_t>("weight_shape", DType::i64, {2}, {2, 5})
      .add<float>("weight_scale", DType::f32, {2, 1}, {0.1f, -1});
  EXPECT_THAT(
      module.rows(WeightFormat::int8, 2, 5),
      ElementsAre(Row{-128 * 0.1f, 0, 127 * 0.1f, 1 * 0.1f, -1 * 0.1f}, Row{0, 0, 0, 0, -16}));
  module.add<uint32_t>("weight_zero_point", DType::i32, {1, 1}, {0xFFFF8182});  // 2 and 1
  EXPECT_THAT(module.rows(WeightFormat::int8, 2, 5),
              ElementsAre(Row{-130 * 0.1f, -2 * 0.1f, 125 * 0.1f, -1 * 0.1f, -3 * 0.1f},
                          Row{1, 1, 1, 1, -15}));
  EXPECT_EQ(module.read(2, 5)->total_bytes(), 16 + 8 + 4);
}

// ---- 7.2: MXFP4 ----

/// Codes 0 … 15 twice: 32 columns.
std::vector<uint8_t> all_codes_twice() {
  std::vector<uint8_t> bytes;
  for (int i = 0; i < 16; ++i)
    bytes.push_back(static_cast<uint8_t>((2 * i % 16 + 1) << 4 | 2 * i % 16));
  return bytes;
}

const Row kE2m1 = {0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6};

/// kE2m1 `times` times, times `scale`.
Row e2m1_times(float scale, int times) {
  Row row;
  for (int i = 0; i < times; ++i) {
    for (const float level : kE2m1)
      row.push_back(level * scale);
  }
  return row;
}

TEST(Mxfp4, EveryCodeUnderEveryNameOfItsTensors) {
  for (const char* packed : {"weight_packed", "weight"}) {
    for (const DType dtype : {DType::u8, DType::f8_e8m0}) {
      for (const int code : {0, 1, 126, 127, 128, 252}) {
        Module module;
        module.add(packed, DType::u8, {1, 16}, all_codes_twice())
            .add("weight_scale", dtype, {1, 1}, std::vector{static_cast<uint8_t>(code)});
        EXPECT_THAT(module.rows(WeightFormat::mxfp4, 1, 32),
                    ElementsAre(e2m1_times(std::ldexp(1.0f, code - 127), 2)))
            << code;
        EXPECT_EQ(module.read(1, 32)->total_bytes(), 17);
      }
    }
  }
}

TEST(Mxfp4, Scale255IsNaNEvenOfAZero) {
  Module module;
  module.add("weight_packed", DType::u8, {1, 16}, std::vector<uint8_t>(16, 0))
      .add<uint8_t>("weight_scale", DType::u8, {1, 1}, {255});
  const auto rows = module.rows(WeightFormat::mxfp4, 1, 32);
  ASSERT_EQ(rows.size(), 1u);
  for (const float value : rows[0])
    EXPECT_TRUE(std::isnan(value));
}

TEST(Mxfp4, GroupsOf16AndRowsKeepTheirScales) {
  Module module;
  std::vector<uint8_t> codes = all_codes_twice();
  codes.insert(codes.end(), 16, 0x22);  // 1
  module.add("weight_packed", DType::u8, {2, 16}, codes)
      .add<uint8_t>("weight_scale", DType::u8, {2, 2}, {128, 126, 130, 127});
  Row first = e2m1_times(2, 1);
  for (const float value : e2m1_times(0.5, 1))
    first.push_back(value);
  Row second(16, 8.0f);
  second.insert(second.end(), 16, 1.0f);
  EXPECT_THAT(module.rows(WeightFormat::mxfp4, 2, 32), ElementsAre(first, second));
}

// ---- 7.3: NVFP4 ----

TEST(Nvfp4, CompressedTensorsDividesByItsGlobalScale) {
  Module module;
  // E4M3: 2 and 2^-9, the smallest subnormal.
  module.add("weight_packed", DType::u8, {1, 16}, all_codes_twice())
      .add<uint8_t>("weight_scale", DType::f8_e4m3, {1, 2}, {0x40, 0x01})
      .add<float>("weight_global_scale", DType::f32, {1}, {3});
  Row expected;
  for (const float level : kE2m1)
    expected.push_back(2 * level / 3);
  for (const float level : kE2m1)
    expected.push_back(std::ldexp(level, -9) / 3);
  EXPECT_THAT(module.rows(WeightFormat::nvfp4, 1, 32), ElementsAre(expected));
  EXPECT_EQ(module.read(1, 32)->total_bytes(), 16 + 2 + 4);
}

TEST(Nvfp4, ModelOptMultipliesWithItsSecondScale) {
  Module module;
  module.add("weight", DType::u8, {1, 16}, all_codes_twice())
      .add<uint8_t>("weight_scale", DType::f8_e4m3, {1, 2}, {0x7E, 0x38})  // 448 and 1
      .add<float>("weight_scale_2", DType::f32, {}, {0.1f})
      .add<float>("input_scale", DType::f32, {}, {7});
  Row expected;
  for (const float level : kE2m1)
    expected.push_back(448 * level * 0.1f);
  for (const float level : kE2m1)
    expected.push_back(level * 0.1f);
  EXPECT_THAT(module.rows(WeightFormat::nvfp4, 1, 32), ElementsAre(expected));
}

TEST(Nvfp4, ScalesOfActivationsAreNotWanted) {
  Module module;
  module.add("weight_packed", DType::u8, {1, 8}, std::vector<uint8_t>(8, 0x22))
      .add<uint8_t>("weight_scale", DType::f8_e4m3, {1, 1}, {0x38})
      .add<float>("weight_global_scale", DType::f32, {1}, {0.25})
      .add<float>("input_global_scale", DType::f32, {1}, {100});
  EXPECT_THAT(module.rows(WeightFormat::nvfp4, 1, 16), ElementsAre(Row(16, 4.0f)));
}

// ---- 7.4 and 7.5: FP8 ----

/// [130, 130] of 2; with the scale shape given, scale i is i + 1.
std::vector<Row> fp8_rows(const char* name, std::vector<int64_t> shape, DType dtype,
                          WeightFormat format) {
  int64_t count = 1;
  for (const int64_t dim : shape)
    count *= dim;
  Module module;
  module.add("weight", DType::f8_e4m3, {130, 130}, std::vector<uint8_t>(130 * 130, 0x40));
  std::vector<uint16_t> halves;
  Row singles;
  for (int64_t i = 0; i < count; ++i) {
    singles.push_back(static_cast<float>(i + 1));
    halves.push_back(dtype == DType::f16 ? float_to_f16(singles.back())
                                         : float_to_bf16(singles.back()));
  }
  if (dtype == DType::f32) {
    module.add(name, dtype, std::move(shape), singles);
  } else {
    module.add(name, dtype, std::move(shape), halves);
  }
  return module.rows(format, 130, 130);
}

TEST(Fp8, OneScaleForTheMatrix) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{}, {1}, {1, 1}}) {
    for (const char* name : {"weight_scale", "weight_scale_inv"}) {
      const auto rows = fp8_rows(name, shape, DType::f32, WeightFormat::fp8);
      EXPECT_THAT(rows, Each(Row(130, 2.0f)));
    }
  }
}

TEST(Fp8, AScaleForEachRow) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{130}, {130, 1}}) {
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      const auto rows = fp8_rows("weight_scale", shape, dtype, WeightFormat::fp8);
      ASSERT_EQ(rows.size(), 130u);
      for (size_t row = 0; row < 130; ++row)
        EXPECT_THAT(rows[row], Each(2.0f * static_cast<float>(row + 1))) << row;
    }
  }
}

TEST(Fp8, AScaleForEachBlock) {
  struct Case {
    const char* name;
    DType dtype;
    WeightFormat format;
  };
  for (const Case& c : {Case{"weight_scale_inv", DType::f32, WeightFormat::fp8_block},
                        Case{"weight_scale", DType::f32, WeightFormat::fp8_block},
                        Case{"weight_scale_inv", DType::bf16, WeightFormat::fp8},
                        Case{"weight_scale", DType::f16, WeightFormat::fp8}}) {
    const auto rows = fp8_rows(c.name, {2, 2}, c.dtype, c.format);
    ASSERT_EQ(rows.size(), 130u);
    for (size_t row = 0; row < 130; ++row) {
      Row expected(128, row < 128 ? 2.0f : 6.0f);
      expected.insert(expected.end(), 2, row < 128 ? 4.0f : 8.0f);
      ASSERT_EQ(rows[row], expected) << row;
    }
  }
}

// ---- variants of mxfp4_16 (section 6) ----

/// Codes 0 … 15 in 16 columns, as the levels.
const Row kLevels = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
const std::vector<uint8_t> kCodes = {0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE};

Row levels_times(float first, float second) {
  Row row;
  for (const float level : kLevels)
    row.push_back(level * first);
  for (const float level : kLevels)
    row.push_back(level * second);
  return row;
}

TEST(Codebook4, ScalesOfEveryFloat) {
  std::vector<uint8_t> codes = kCodes;
  codes.insert(codes.end(), kCodes.begin(), kCodes.end());
  Module bf16, f32, f16;
  bf16.add("weight_packed", DType::u8, {1, 16}, codes)
      .add<uint16_t>("weight_scale", DType::bf16, {1, 2}, {0xBF00, 0x0001});  // -0.5, 2^-133
  EXPECT_THAT(bf16.rows(WeightFormat::codebook4, 1, 32),
              ElementsAre(levels_times(-0.5, 0x1p-133f)));
  f32.add("qweight", DType::u8, {1, 16}, codes)
      .add<float>("scales", DType::f32, {1, 2}, {0.1f, -3});
  EXPECT_THAT(f32.rows(WeightFormat::codebook4, 1, 32), ElementsAre(levels_times(0.1f, -3)));
  // Groups of 32, as the sibling format has them.
  f16.add("weight_packed", DType::u8, {1, 16}, codes)
      .add<uint16_t>("weight_scale", DType::f16, {1, 1}, {0x8001});
  EXPECT_THAT(f16.rows(WeightFormat::codebook4, 1, 32),
              ElementsAre(levels_times(-0x1p-24f, -0x1p-24f)));
  EXPECT_EQ(f16.read(1, 32)->total_bytes(), 16 + 2);
}

TEST(Codebook4, HighNibbleFirst) {
  const CodeMeaning high_first{.nibble_order = NibbleOrder::high_first};
  Module module;
  module.add("weight_packed", DType::u8, {1, 8}, kCodes)
      .add<uint16_t>("weight_scale", DType::f16, {1, 1}, {0x3C00});
  Row swapped = kLevels;
  for (size_t i = 0; i < swapped.size(); i += 2)
    std::swap(swapped[i], swapped[i + 1]);
  EXPECT_THAT(module.rows(WeightFormat::codebook4, 1, 16, high_first), ElementsAre(swapped));
  EXPECT_THAT(module.rows(WeightFormat::mxfp4_16, 1, 16), ElementsAre(kLevels));
}

TEST(Codebook4, TransposedCodesAndScales) {
  // [2, 32]. Row 0: codes 0 … 15 twice, row 1: code 8 everywhere, which is 1. Scales 1, 2; -1, 0.5.
  std::vector<uint8_t> plain = kCodes;
  plain.insert(plain.end(), kCodes.begin(), kCodes.end());
  plain.insert(plain.end(), 16, 0x88);
  std::vector<uint8_t> turned;
  for (size_t b = 0; b < 16; ++b) {
    turned.push_back(plain[b]);
    turned.push_back(plain[16 + b]);
  }
  Row second(16, -1.0f);
  second.insert(second.end(), 16, 0.5f);
  const std::vector<uint16_t> scales = {0x3C00, 0x4000, 0xBC00, 0x3800};
  const std::vector<uint16_t> turned_scales = {0x3C00, 0xBC00, 0x4000, 0x3800};
  // [2, 2] scales look the same either way and follow the codes.
  Module both;
  both.add("weight_packed", DType::u8, {16, 2}, turned)
      .add("weight_scale", DType::f16, {2, 2}, turned_scales);
  EXPECT_THAT(both.rows(WeightFormat::codebook4, 2, 32), ElementsAre(levels_times(1, 2), second));
  EXPECT_TRUE(both.read(2, 32)->codes_transposed);
  EXPECT_TRUE(both.read(2, 32)->scale_layout.transposed);
  Module neither;
  neither.add("weight_packed", DType::u8, {2, 16}, plain)
      .add("weight_scale", DType::f16, {2, 2}, scales);
  EXPECT_THAT(neither.rows(WeightFormat::mxfp4_16, 2, 32), ElementsAre(levels_times(1, 2), second));
}

TEST(Codebook4, SquareCodesFollowTheScales) {
  // [8, 16]: codes are [8, 8] either way. Row n has code n everywhere when read along rows.
  std::vector<uint8_t> codes;
  for (int row = 0; row < 8; ++row)
    codes.insert(codes.end(), 8, static_cast<uint8_t>(row << 4 | row));
  Module plain, turned;
  const std::vector<uint16_t> ones(8, 0x3C00);
  plain.add("weight_packed", DType::u8, {8, 8}, codes)
      .add("weight_scale", DType::f16, {8, 1}, ones);
  turned.add("weight_packed", DType::u8, {8, 8}, codes)
      .add("weight_scale", DType::f16, {1, 8}, ones);
  const auto rows = plain.rows(WeightFormat::mxfp4_16, 8, 16);
  EXPECT_THAT(rows[3], Each(-65.0f));
  const auto columns = turned.rows(WeightFormat::codebook4, 8, 16);
  EXPECT_THAT(columns[3], ElementsAre(-127, -127, -104, -104, -83, -83, -65, -65, -49, -49, -35,
                                      -35, -22, -22, -10, -10));
}

TEST(Codebook4, TheLastGroupMayBePartial) {
  Module module;
  module.add<uint8_t>("weight_packed", DType::u8, {1, 9}, std::vector<uint8_t>(9, 0x98))
      .add<float>("weight_scale", DType::f32, {1, 2}, {2, -1});
  Row expected;
  for (int i = 0; i < 8; ++i)
    expected.insert(expected.end(), {2, 26});
  expected.insert(expected.end(), {-1, -13});
  EXPECT_THAT(module.rows(WeightFormat::codebook4, 1, 18), ElementsAre(expected));
}

TEST(Codebook4, ProtectedExpertsAreDense) {
  Module module;
  module.add<uint16_t>("weight_fp16", DType::f16, {1, 2}, {0x3C00, 0x0001});
  EXPECT_THAT(module.rows(WeightFormat::f16, 1, 2), ElementsAre(Row{1, 0x1p-24f}));
}

}  // namespace
}  // namespace tetrad
