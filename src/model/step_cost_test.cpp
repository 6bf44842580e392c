#include "model/step_cost.h"

#include <gtest/gtest.h>

#include <set>
#include <span>
#include <vector>

#include "model/synthetic_model_for_tests.h"

namespace tetrad {
namespace {

using synthetic_model_for_tests::fast_model;
using synthetic_model_for_tests::synthetic_ids;

/// One step of two sequences, of which the second is a prefill chunk.
class StepCostTest : public testing::Test {
 protected:
  StepCost cost_of(std::span<const int32_t> logits_rows) {
    const std::vector<int32_t> ids = synthetic_ids(4);
    const std::vector<int32_t> positions = {20, 5, 6, 7};
    const std::vector<int64_t> slots = {20, 37, 38, 39};
    const std::vector<int32_t> first = {0, 1};
    const std::vector<int32_t> second = {2};
    const std::vector<SequenceSlice> slices = {
        {.query_start = 0, .query_len = 1, .context_len = 20, .block_table = first},
        {.query_start = 1, .query_len = 3, .context_len = 5, .block_table = second}};
    const Batch batch{.token_ids = ids,
                      .positions = positions,
                      .slot_mapping = slots,
                      .sequences = slices,
                      .logits_rows = logits_rows};
    StepCostCounter counter(*model_, DType::f8_e4m3);
    const Observer both = [&](std::string_view name, int64_t layer, Activations tensor) {
      (*counter.observer())(name, layer, tensor);
      if (name != "router_index") return;
      std::set<float> distinct(tensor.data, tensor.data + tensor.rows * tensor.cols);
      num_experts_ += static_cast<int64_t>(distinct.size());
    };
    const std::vector<KvScales> scales(3);
    const KvCache cache = KvCache::create(model_->config(), DType::f8_e4m3, 3, scales).value();
    EXPECT_TRUE(model_->forward(batch, cache, &both));
    counter.add(batch);
    return counter.total();
  }

  std::unique_ptr<MiniMaxM2> model_ = fast_model();
  int64_t num_experts_ = 0;  // that some token visited, over all layers
};

TEST_F(StepCostTest, CountsWhatTheStepNeeds) {
  const std::vector<int32_t> last = {0, 3};
  const StepCost cost = cost_of(last);
  // Not every choice is another expert, and not every token has the same.
  EXPECT_LT(num_experts_, 3 * 4 * 3);
  EXPECT_GT(num_experts_, 3 * 3);
  const int64_t attention = 2 * 192 * 96 + 2 * 64 * 96;
  const int64_t expert = 3 * 96 * 48;
  const int64_t packed = 4 * 96 + 3 * attention + num_experts_ * expert + 160 * 96;
  const int64_t keys = 21 + 8;
  EXPECT_EQ(cost.bytes, packed * 5 / 8 + 3 * 24 * 96 * 4 + 3 * keys * 2 * 64);
  const int64_t seen = 21 + 6 + 7 + 8;
  const int64_t multiply_adds =
      4 * 3 * (attention + 24 * 96 + 3 * expert) + 2 * 160 * 96 + 3 * seen * 2 * 192;
  EXPECT_EQ(cost.operations, 2 * multiply_adds);
}

TEST_F(StepCostTest, CountsTheHeadOnlyWhereThereAreLogits) {
  const std::vector<int32_t> last = {3};
  const StepCost with = cost_of(last);
  const StepCost without = cost_of({});
  EXPECT_EQ(with.bytes - without.bytes, 160 * 96 * 5 / 8);
  EXPECT_EQ(with.operations - without.operations, 2 * 160 * 96);
}

}  // namespace
}  // namespace tetrad
