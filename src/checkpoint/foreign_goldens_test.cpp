// tests/golden/foreign_formats: what an independent encoder wrote, and what it stands for.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "base/json.h"
#include "base/mapped_file.h"
#include "checkpoint/module_place.h"

namespace tetrad {
namespace {

const std::filesystem::path kGoldens =
    std::filesystem::path(TETRAD_SOURCE_DIR) / "tests/golden/foreign_formats";

class ForeignGoldens : public testing::Test {
 protected:
  ForeignGoldens()
      : modules_file_(MappedFile::open(kGoldens / "modules.safetensors").value()),
        expected_file_(MappedFile::open(kGoldens / "expected.safetensors").value()),
        modules_(parse_safetensors(modules_file_.bytes()).value()),
        expected_(parse_safetensors(expected_file_.bytes()).value()) {}

  static CodeMeaning meaning_of(const json::object& entry) {
    CodeMeaning meaning;
    const json::value* levels = entry.if_contains("codebook");
    for (size_t i = 0; levels != nullptr && i < meaning.codebook.size(); ++i)
      meaning.codebook[i] = static_cast<int8_t>(levels->get_array()[i].as_int64());
    return meaning;
  }

  /// The golden values of [rows, cols] number `index`.
  std::vector<float> expected(const std::string& module, int64_t index, int64_t rows,
                              int64_t cols) const {
    std::vector<float> values(static_cast<size_t>(rows * cols));
    const std::span<const std::byte> bytes = expected_.at(module).bytes;
    std::memcpy(values.data(), bytes.data() + static_cast<size_t>(index) * values.size() * 4,
                values.size() * 4);
    return values;
  }

  static void expect_equal(const Result<WeightMatrix>& matrix, const std::vector<float>& expected,
                           const std::string& module) {
    ASSERT_TRUE(matrix) << module << ": " << matrix.error().message;
    std::vector<float> values(expected.size());
    for (int64_t row = 0; row < matrix->rows; ++row) {
      dequantize_row(*matrix, row,
                     std::span(values).subspan(static_cast<size_t>(row * matrix->cols)));
    }
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_EQ(values[i], expected[i]) << module << ", element " << i;
  }

  MappedFile modules_file_, expected_file_;
  TensorMap modules_, expected_;
};

TEST_F(ForeignGoldens, EveryModuleIsWhatItStandsFor) {
  const json::value index = parse_json(*read_text_file(kGoldens / "index.json")).value();
  size_t read = 0;
  for (const json::value& item : index.as_array()) {
    const json::object& entry = item.as_object();
    const std::string module(entry.at("module").as_string());
    const json::array& shape = entry.at("shape").as_array();
    if (module == "mxfp4_gpt_oss") continue;  // refused: module_place_test.cpp
    const int64_t rows = shape[shape.size() - 2].as_int64();
    const int64_t cols = shape.back().as_int64();
    ++read;
    if (shape.size() == 2) {
      const auto matrix =
          weight_matrix_of(tensors_of_module(modules_, module), rows, cols, meaning_of(entry));
      expect_equal(matrix, expected(module, 0, rows, cols), module);
      continue;
    }
    // All experts of a layer in one tensor.
    const int64_t experts = shape[0].as_int64();
    for (int64_t expert = 0; expert < experts; ++expert) {
      const ModulePlace place{
          .module = module, .tensors = tensors_of_module(modules_, module), .expert = expert};
      const auto slices = ExpertSlices::cut(place, experts, rows);
      ASSERT_TRUE(slices) << module << ": " << slices.error().message;
      expect_equal(weight_matrix_of(slices->tensors(), rows, cols, meaning_of(entry)),
                   expected(module, expert, rows, cols), module);
    }
  }
  EXPECT_EQ(read, expected_.size() - (expected_.contains("mxfp4_gpt_oss") ? 1 : 0));
}

}  // namespace
}  // namespace tetrad
