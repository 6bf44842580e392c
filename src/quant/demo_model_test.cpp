// The model that comes with the repository is whole. That `tetrad quantize` makes it:
// tests/quantize/remake_bundled_model.py.

#include <gtest/gtest.h>

#include "checkpoint/survey.h"

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

}  // namespace
}  // namespace tetrad
