// The model that comes with the repository: whole, and what `tetrad quantize` makes.

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/mapped_file.h"
#include "checkpoint/kv_scales.h"
#include "checkpoint/survey.h"
#include "quant/quantizer.h"

namespace tetrad {
namespace {

namespace fs = std::filesystem;

fs::path bundled() {
  return fs::path(TETRAD_SOURCE_DIR) / "models" / "tetrad-demo-mxfp4_16";
}

TEST(DemoModel, IsWholeAndQuantized) {
  const auto checkpoint = Checkpoint::open(bundled());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const Survey found = survey(*checkpoint);
  for (const Finding& finding : found.findings)
    ADD_FAILURE() << finding.text;
  // 8 layers of q, k, v, o and 16 experts of three matrices; embedding, head and routers stay.
  const auto& quantized = found.matrices.at(WeightFormat::mxfp4_16);
  EXPECT_EQ(quantized.parameters, 8 * (384 * (512 + 256 + 256 + 512) + 16 * 3 * 384 * 128));
  EXPECT_DOUBLE_EQ(quantized.bits_per_weight(), 5.0);
  const auto& kept = found.matrices.at(WeightFormat::bf16);
  EXPECT_EQ(kept.parameters, 2 * 6144 * 384 + 8 * 16 * 384);
  EXPECT_EQ(found.total.parameters, 28'373'504);
  EXPECT_EQ(found.layers_with_k_scale, 8);
  EXPECT_EQ(found.layers_with_v_scale, 8);
}

/// The scales are the only part that rests on float sums, whose last bits depend on the instruction
/// set; tests/fp8_kv_cache_test.cpp measures them again.
Result<std::vector<KvScales>> bundled_kv_scales() {
  TETRAD_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(bundled()));
  std::vector<KvScales> scales;
  for (const std::optional<KvScales>& layer : read_kv_scales(checkpoint).layers)
    scales.push_back(layer.value());
  return scales;
}

TEST(DemoModel, IsWhatQuantizeMakesOfItsSource) {
  const fs::path source = fs::path(TETRAD_SOURCE_DIR) / ".." / "shared" / "models" / "demo-bf16";
  if (!fs::exists(source)) GTEST_SKIP() << source << " is not here";
  const fs::path made =
      fs::path(testing::TempDir()) / fmt::format("demo_model_test_{}", ::getpid());
  fs::remove_all(made);
  QuantizeOptions options;
  options.calibrate_kv = bundled_kv_scales;
  const auto report = quantize_checkpoint(source, made, options);
  ASSERT_TRUE(report) << report.error().message;
  int files = 0;
  for (const auto& entry : fs::directory_iterator(made)) {
    const auto name = entry.path().filename();
    const auto here = read_text_file(bundled() / name);
    ASSERT_TRUE(here) << here.error().message;
    EXPECT_TRUE(*here == read_text_file(entry.path()).value()) << name << " differs";
    ++files;
  }
  EXPECT_EQ(files, 7);
  fs::remove_all(made);
}

}  // namespace
}  // namespace tetrad
