// An FP8 KV cache on the bundled model: its scales, and what it costs. Held-out texts and the BF16
// source are in ../shared/models, and the tests that need them skip without.

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/json.h"
#include "base/mapped_file.h"
#include "base/sanitized_for_tests.h"
#include "kernels/kernels.h"
#include "model/cpu_model.h"
#include "model/kv_cache_format.h"
#include "quant/kv_calibration.h"
#include "quant/perplexity.h"
#include "text/tokenizer.h"

namespace tetrad {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = TETRAD_SOURCE_DIR;
const fs::path kBundled = kSource / "models" / "tetrad-demo-mxfp4_16";
const fs::path kShared = kSource.parent_path() / "shared" / "models";
constexpr int64_t kWindow = 1024;

constexpr const char* kLong = "takes minutes under a sanitizer; the release tests compute it";

std::unique_ptr<MiniMaxM2> load(const fs::path& folder) {
  auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(folder).value());
  std::shared_ptr<Kernels> kernels = make_cpu_kernels(std::make_shared<ThreadPool>(2)).value();
  return MiniMaxM2::load(std::move(checkpoint), std::move(kernels)).value();
}

std::vector<TokenId> encode(const fs::path& text) {
  const auto tokenizer = Tokenizer::from_file(kBundled / "tokenizer.json");
  return tokenizer.value().encode(read_text_file(text).value()).value();
}

class Fp8KvCache : public testing::Test {
 protected:
  /// Mean NLL with an FP8 cache over that with a BF16 cache.
  double cost(std::span<const TokenId> ids, const std::string& name) {
    CpuModel bf16(*model_, {DType::bf16, {}});
    CpuModel fp8(*model_, {DType::f8_e4m3, scales_});
    const Perplexity with_bf16 = evaluate_perplexity(bf16, ids, kWindow).value();
    const Perplexity with_fp8 = evaluate_perplexity(fp8, ids, kWindow).value();
    fmt::print("{}: BF16 {:.6f}, FP8 {:.6f}, {:+.3f} %\n", name, with_bf16.mean_nll,
               with_fp8.mean_nll, 100 * (with_fp8.mean_nll / with_bf16.mean_nll - 1));
    return with_fp8.mean_nll / with_bf16.mean_nll;
  }

  std::unique_ptr<MiniMaxM2> model_ = load(kBundled);
  std::vector<KvScales> scales_ =
      resolve_kv_scales(model_->kv_scales(), DType::f8_e4m3, std::nullopt).value();
};

TEST_F(Fp8KvCache, TheBundledModelHasScalesForEveryLayer) {
  EXPECT_EQ(auto_kv_cache_dtype(model_->kv_scales()), DType::f8_e4m3);
  EXPECT_EQ(scales_.size(), 8u);
  EXPECT_TRUE(model_->kv_scales().warnings.empty());
  EXPECT_TRUE(model_->kv_scales().announced);
}

/// They were measured on the BF16 source; the 4-bit model's own keys and values are nearly as
/// large.
/// The scales were measured on the source. (That its own command gives them again is tested by
/// tests/quantize/remake_bundled_model.py.)
TEST_F(Fp8KvCache, TheBundledModelIsNotLouderThanItsScalesAllow) {
  if (kSanitized) GTEST_SKIP() << kLong;
  std::vector<TokenId> ids =
      encode(kSource / "tests" / "golden" / "calibration" / "conversations.txt");
  ids.resize(8 * kWindow);
  const auto measured = calibrate_kv_scales(*model_, ids, kWindow).value();
  for (size_t layer = 0; layer < scales_.size(); ++layer) {
    for (const float ratio :
         {measured[layer].k / scales_[layer].k, measured[layer].v / scales_[layer].v}) {
      EXPECT_GT(ratio, 0.3f) << layer;
      EXPECT_LT(ratio, 1.15f) << layer;
    }
  }
}

TEST_F(Fp8KvCache, CostsLittleOnThePromptsOfTheRepository) {
  std::vector<TokenId> ids;
  const auto text = read_text_file(kSource / "tests" / "golden" / "prompt_ids.json").value();
  const json::value prompts = parse_json(text).value();
  for (const json::value& prompt : prompts.as_array()) {
    for (const json::value& id : prompt.at("ids").as_array())
      ids.push_back(id.to_number<TokenId>());
  }
  // 400 tokens are few: single ones move the mean.
  EXPECT_NEAR(cost(ids, "prompts"), 1.0, 0.03);
}

TEST_F(Fp8KvCache, CostsLessThanOnePercentOnHeldOutText) {
  if (!fs::exists(kShared / "goldens")) GTEST_SKIP() << kShared << " is not here";
  if (kSanitized) GTEST_SKIP() << kLong;
  for (const char* name : {"heldout_book.txt", "heldout_chat.txt"})
    EXPECT_LT(cost(encode(kShared / "goldens" / name), name), 1.01) << name;
}

}  // namespace
}  // namespace tetrad
