// A checkpoint as the reference library writes it, every element of every tensor. The sums are
// made with NumPy by tests/golden/make_demo_bf16_checksums.py.

#include <gtest/gtest.h>

#include <set>

#include "checkpoint/architecture.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/survey.h"

namespace tetrad {
namespace {

const std::filesystem::path kRoot = TETRAD_SOURCE_DIR;

struct Sums {
  double plain = 0;
  double weighted = 0;  // element i times i mod 251

  void add(std::span<const float> values) {
    for (const float value : values) {
      plain += value;
      weighted += value * static_cast<double>(count_++ % 251);
    }
  }

 private:
  int64_t count_ = 0;
};

Result<Sums> sums_of(const Checkpoint& checkpoint, const ExpectedTensor& expected) {
  Sums sums;
  if (!expected.is_matrix()) {
    TETRAD_ASSIGN(const std::vector<float> values, checkpoint.vector(expected.name, expected.rows));
    sums.add(values);
    return sums;
  }
  TETRAD_ASSIGN(const WeightMatrix matrix,
                checkpoint.matrix(expected.name, expected.rows, expected.cols));
  std::vector<float> row(static_cast<size_t>(expected.cols));
  for (int64_t i = 0; i < matrix.rows; ++i) {
    dequantize_row(matrix, i, row);
    sums.add(row);
  }
  return sums;
}

TEST(DemoCheckpoint, HasTheElementsNumpyReads) {
  const auto folder = kRoot / "../shared/models/demo-bf16";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " does not exist";
  const auto checkpoint = Checkpoint::open(folder);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const auto golden = parse_json(*read_text_file(kRoot / "tests/golden/demo_bf16_checksums.json"));
  ASSERT_TRUE(golden);
  std::set<std::string> seen;
  for (const ExpectedTensor& expected : expected_tensors(checkpoint->config())) {
    const std::string name = expected.is_matrix() ? expected.name + ".weight" : expected.name;
    const auto sums = sums_of(*checkpoint, expected);
    ASSERT_TRUE(sums) << sums.error().message;
    const json::array& wanted = golden->as_object().at(name).as_array();
    EXPECT_EQ(dtype_name(checkpoint->find(name)->dtype), wanted[0].as_string()) << name;
    // One wrong element moves the sums by far more than the rounding of either side.
    EXPECT_NEAR(sums->plain, wanted[2].to_number<double>(), 1e-8) << name;
    EXPECT_NEAR(sums->weighted, wanted[3].to_number<double>(), 1e-6) << name;
    seen.insert(name);
  }
  EXPECT_EQ(seen.size(), golden->as_object().size());
}

TEST(DemoCheckpoint, HasNothingTheSurveyWouldReport) {
  const auto folder = kRoot / "../shared/models/demo-bf16";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " does not exist";
  const auto checkpoint = Checkpoint::open(folder);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const Survey found = survey(*checkpoint);
  EXPECT_TRUE(found.findings.empty());
  EXPECT_EQ(found.total.bytes, 56747264) << "metadata.total_size of its index";
}

}  // namespace
}  // namespace tetrad
