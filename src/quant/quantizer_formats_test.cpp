// What may come in and go out, and which modules stay as they are.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "quant/quantizer_fixture_for_tests.h"

namespace tetrad {
namespace {

using testing::HasSubstr;

/// random_model() with experts of width 64, which groups of 32 divide.
Tensors wide_model(DType weights = DType::bf16) {
  Tensors model = random_model(weights);
  std::mt19937 random(41);
  for (auto& [name, tensor] : model) {
    if (name.find("experts") == std::string::npos || !name.ends_with(".weight")) continue;
    const bool down = name.ends_with("w2.weight");
    tensor = random_tensor(weights, {down ? 32 : 64, down ? 64 : 32}, random);
  }
  return model;
}

class QuantizerFormatsTest : public QuantizerTest {
 protected:
  void write_wide_source(const Tensors& model, std::string_view more_config = "") const {
    write_source(model, more_config);
    std::string config = read_text_file(source() / "config.json").value();
    const std::string_view width = "\"intermediate_size\": 48";
    config.replace(config.find(width), width.size(), "\"intermediate_size\": 64");
    write(source() / "config.json", config);
  }

  fs::path second_destination() const { return destination().parent_path() / "second"; }

  static Checkpoint open(const fs::path& folder) {
    auto checkpoint = Checkpoint::open(folder);
    EXPECT_TRUE(checkpoint) << checkpoint.error().message;
    return std::move(*checkpoint);
  }
};

constexpr std::string_view kFp8Config =
    R"(, "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]})";

const std::string kFirstExpert = "model.layers.0.block_sparse_moe.experts.0.w1";

/// Every matrix of `dense` is what dequantizing that of `packed` and rounding to BF16 gives.
void expect_dequantized(const Checkpoint& packed, const Checkpoint& dense) {
  int matrices = 0;
  for (const ExpectedTensor& expected : expected_tensors(packed.config())) {
    if (!expected.is_matrix()) continue;
    const auto before = packed.matrix(expected.name, expected.rows, expected.cols);
    const TensorView* after = dense.find(expected.name + ".weight");
    ASSERT_TRUE(before && after != nullptr) << expected.name;
    if (before->format == WeightFormat::f32) continue;  // routers stay as they are
    ASSERT_EQ(after->dtype, DType::bf16) << expected.name;
    std::vector<float> row(static_cast<size_t>(expected.cols));
    for (int64_t n = 0; n < expected.rows; ++n) {
      dequantize_row(*before, n, row);
      for (size_t k = 0; k < row.size(); ++k) {
        uint16_t stored = 0;
        std::memcpy(&stored, after->bytes.data() + 2 * (static_cast<size_t>(n) * row.size() + k),
                    sizeof stored);
        ASSERT_EQ(stored, float_to_bf16(row[k])) << expected.name << " " << n << " " << k;
      }
    }
    ++matrices;
  }
  EXPECT_EQ(matrices, kQuantizedMatrices + 2);
}

TEST_F(QuantizerFormatsTest, EachFormatIsReadAgainNearTheSource) {
  write_wide_source(wide_model());
  const std::map<TargetFormat, double> largest_error = {{TargetFormat::mxfp4_16, 0.075},
                                                        {TargetFormat::mxfp4, 0.16},
                                                        {TargetFormat::nvfp4, 0.12},
                                                        {TargetFormat::fp8_block, 0.04}};
  for (const auto& [format, error] : largest_error) {
    SCOPED_TRACE(target_format_name(format));
    const auto report = quantize({.format = format, .overwrite = true});
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(report->quantized.count, kQuantizedMatrices);
    const Checkpoint before = open(source());
    const Checkpoint after = open(destination());
    expect_near_the_source(before, after, error);
    const auto matrix = after.matrix(kFirstExpert, 64, 32);
    ASSERT_TRUE(matrix) << matrix.error().message;
    EXPECT_EQ(weight_format_name(matrix->format), target_format_name(format));
  }
}

TEST_F(QuantizerFormatsTest, ADenseSourceStaysWhatItIsInBf16) {
  const Tensors model = random_model();
  write_source(model);
  const auto report = quantize({.format = TargetFormat::bf16});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->quantized.count, 0);
  const Checkpoint after = open(destination());
  ASSERT_EQ(after.tensors().size(), model.size());
  for (const auto& [name, tensor] : model) {
    ASSERT_NE(after.find(name), nullptr) << name;
    EXPECT_EQ(after.find(name)->dtype, tensor.dtype) << name;
    EXPECT_TRUE(std::ranges::equal(after.find(name)->bytes, tensor.bytes)) << name;
  }
}

TEST_F(QuantizerFormatsTest, WhatWasQuantizedBecomesDense) {
  write_wide_source(wide_model());
  for (const TargetFormat format : {TargetFormat::mxfp4_16, TargetFormat::mxfp4,
                                    TargetFormat::nvfp4, TargetFormat::fp8_block}) {
    SCOPED_TRACE(target_format_name(format));
    ASSERT_TRUE(quantize({.format = format, .overwrite = true}));
    const auto dense = quantize_checkpoint(destination(), second_destination(),
                                           {.format = TargetFormat::bf16, .overwrite = true});
    ASSERT_TRUE(dense) << dense.error().message;
    EXPECT_EQ(dense->quantized.count, kQuantizedMatrices);
    const Checkpoint after = open(second_destination());
    EXPECT_FALSE(after.config().raw.contains("quantization_config"));
    expect_dequantized(open(destination()), after);
  }
}

TEST_F(QuantizerFormatsTest, AnyQuantizedSourceBecomesMxfp4_16) {
  write_wide_source(wide_model());
  for (const TargetFormat format :
       {TargetFormat::mxfp4, TargetFormat::nvfp4, TargetFormat::fp8_block}) {
    SCOPED_TRACE(target_format_name(format));
    ASSERT_TRUE(quantize({.format = format, .overwrite = true}));
    const auto again =
        quantize_checkpoint(destination(), second_destination(), {.overwrite = true});
    ASSERT_TRUE(again) << again.error().message;
    expect_near_the_source(open(source()), open(second_destination()), 0.2);
  }
}

TEST_F(QuantizerFormatsTest, KeepsNothingThatTheNewConfigWouldMisread) {
  // The other order of nibbles is in the config of the source alone.
  write_wide_source(wide_model());
  ASSERT_TRUE(quantize({.format = TargetFormat::mxfp4}));
  const json::value config =
      parse_json(read_text_file(destination() / "config.json").value()).value();
  json::object swapped = config.get_object();
  swapped["quantization_config"].get_object()["nibble_order"] = "high_first";
  write(destination() / "config.json", to_json_text(swapped));
  const auto kept = quantize_checkpoint(destination(), second_destination(),
                                        {.format = TargetFormat::mxfp4, .keep = {"*"}});
  ASSERT_TRUE(kept) << kept.error().message;
  const Checkpoint after = open(second_destination());
  EXPECT_EQ(after.matrix(kFirstExpert, 64, 32).value().format, WeightFormat::bf16);
  expect_dequantized(open(destination()), after);
}

TEST_F(QuantizerFormatsTest, ScalesOfQueriesAloneAnnounceNoFp8Cache) {
  Tensors model = random_model();
  std::mt19937 random(1);
  model["model.layers.1.self_attn.q_scale"] = random_tensor(DType::f32, {1}, random);
  write_source(model);
  ASSERT_TRUE(quantize());
  EXPECT_FALSE(open(destination()).quantization().fp8_kv_cache);
}

TEST_F(QuantizerFormatsTest, RefusesGroupsThatDoNotDivideTheChannels) {
  write_source(random_model());
  expect_failure({.format = TargetFormat::mxfp4}, "48 input channels");
  EXPECT_FALSE(fs::exists(destination()));
}

TEST_F(QuantizerFormatsTest, RefusesWhatIsInTheFormatAlready) {
  write_source(random_model(DType::f8_e4m3), kFp8Config);
  expect_failure({.format = TargetFormat::fp8_block}, "quantized to fp8_block already");
}

TEST_F(QuantizerFormatsTest, KeepsTheModulesOfAPattern) {
  const Tensors model = random_model();
  write_source(model);
  const auto report =
      quantize({.keep = {"model.layers.1.self_attn.[qk]_proj", R"(re:.*layers\.0\.block_sparse)"}});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->quantized.count, kQuantizedMatrices - 2 - 6);
  EXPECT_EQ(report->kept_modules, 2 + 6);
  const Checkpoint after = open(destination());
  const json::array& ignore = after.config().raw.at("quantization_config").at("ignore").as_array();
  EXPECT_EQ(ignore.size(), 3u + 2 + 6);
  for (const std::string module :
       {"model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.k_proj",
        "model.layers.0.block_sparse_moe.experts.1.w2"}) {
    EXPECT_EQ(std::ranges::count(ignore, json::value(module)), 1) << module;
    const TensorView* kept = after.find(module + ".weight");
    ASSERT_NE(kept, nullptr) << module;
    EXPECT_TRUE(std::ranges::equal(kept->bytes, model.at(module + ".weight").bytes)) << module;
  }
  EXPECT_NE(after.find("model.layers.1.self_attn.v_proj.weight_packed"), nullptr);
}

TEST_F(QuantizerFormatsTest, WhatIsKeptOfAnFp8SourceBecomesBf16) {
  write_source(random_model(DType::f8_e4m3), kFp8Config);
  const auto report = quantize({.keep = {"*.experts.0.*"}});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->dequantized.count, 6);
  EXPECT_EQ(report->quantized.count, kQuantizedMatrices - 6);
  EXPECT_EQ(report->matrices.size(), size_t{kQuantizedMatrices} - 6);
  const Checkpoint before = open(source());
  const Checkpoint after = open(destination());
  const auto kept = after.matrix(kFirstExpert, 48, 32);
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(kept->format, WeightFormat::bf16);
  const auto was = rows_of(before, kFirstExpert, 48, 32);
  const auto is = rows_of(after, kFirstExpert, 48, 32);
  for (size_t n = 0; n < was.size(); ++n) {
    for (size_t k = 0; k < was[n].size(); ++k)
      ASSERT_EQ(is[n][k], bf16_to_float(float_to_bf16(was[n][k])));
  }
}

TEST_F(QuantizerFormatsTest, WhatIsMxfp4_16AlreadyIsCarriedOverWhenItIsKept) {
  write_source(random_model());
  ASSERT_TRUE(quantize({.keep = {"*.self_attn.*"}}));
  const auto refused = quantize_checkpoint(destination(), second_destination(), {});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("--keep"));
  const auto rest =
      quantize_checkpoint(destination(), second_destination(), {.keep = {"*expert*"}});
  ASSERT_TRUE(rest) << rest.error().message;
  EXPECT_EQ(rest->quantized.count, 8);
  EXPECT_EQ(rest->kept_modules, 0) << "they are quantized";
  const Checkpoint first = open(destination());
  const Checkpoint second = open(second_destination());
  EXPECT_EQ(second.config().raw.at("quantization_config").at("ignore").as_array().size(), 3u);
  for (const std::string suffix : {".weight_packed", ".weight_scale"}) {
    EXPECT_TRUE(std::ranges::equal(first.find(kFirstExpert + suffix)->bytes,
                                   second.find(kFirstExpert + suffix)->bytes));
  }
  EXPECT_NE(second.find("model.layers.0.self_attn.q_proj.weight_packed"), nullptr);
}

TEST_F(QuantizerFormatsTest, APatternMustMatchAModule) {
  write_source(random_model());
  expect_failure({.keep = {"*.self_attn.*", "*.mlp.*"}}, R"(--keep "*.mlp.*" matches no module)");
  expect_failure({.keep = {"layers.0.*"}}, "matches no module");
  expect_failure({.keep = {"re:layers"}}, "matches no module");
  expect_failure({.keep = {"re:(model"}}, "no regular expression");
  expect_failure({.keep = {""}}, "--keep");
}

TEST_F(QuantizerFormatsTest, FurtherLayersInFp8BecomeDenseInADenseCheckpoint) {
  Tensors model = random_model();
  std::mt19937 random(42);
  const std::string module = "model.layers.2.eh_proj";  // multi-token prediction
  model[module + ".weight"] = random_tensor(DType::f8_e4m3, {32, 64}, random);
  model[module + ".weight_scale_inv"] = random_tensor(DType::f32, {1, 1}, random);
  write_source(model, kFp8Config);
  ASSERT_TRUE(quantize({.format = TargetFormat::bf16}));
  const Checkpoint after = open(destination());
  EXPECT_EQ(after.find(module + ".weight_scale_inv"), nullptr);
  const auto matrix = after.matrix(module, 32, 64);
  ASSERT_TRUE(matrix) << matrix.error().message;
  EXPECT_EQ(matrix->format, WeightFormat::bf16);
  EXPECT_TRUE(
      std::ranges::equal(after.find("lm_head.weight")->bytes, model.at("lm_head.weight").bytes));
}

TEST_F(QuantizerFormatsTest, NamesTheTensorThatIsNotFinite) {
  for (const std::string name :
       {"model.embed_tokens.weight", "model.layers.1.input_layernorm.weight",
        "model.layers.0.block_sparse_moe.gate.weight"}) {
    Tensors model = random_model();
    Tensor& tensor = model.at(name);
    const size_t size = dtype_size(tensor.dtype);
    const uint32_t infinity = tensor.dtype == DType::f32 ? 0xFF800000u : 0xFF80u;
    std::memcpy(tensor.bytes.data() + 11 * size, &infinity, size);
    write_source(model);
    const auto report = quantize({.overwrite = true});
    ASSERT_FALSE(report) << name;
    for (const std::string& part :
         {std::string("model.safetensors"), name, std::string("element 11")})
      EXPECT_THAT(report.error().message, HasSubstr(part));
    EXPECT_FALSE(Checkpoint::open(destination()));
  }
}

TEST_F(QuantizerFormatsTest, NamesTheTruncatedShard) {
  write_source(random_model());
  const fs::path shard = source() / "model.safetensors";
  fs::resize_file(shard, fs::file_size(shard) - 3);
  expect_failure({}, shard.string());
  fs::resize_file(shard, 100);
  expect_failure({}, shard.string());
  EXPECT_FALSE(fs::exists(destination()));
}

TEST_F(QuantizerFormatsTest, NamesTheMissingExpertAndTheWrongShape) {
  Tensors model = random_model();
  const std::string expert = "model.layers.1.block_sparse_moe.experts.1.w3";
  model.erase(expert + ".weight");
  write_source(model);
  expect_failure({}, expert);
  std::mt19937 random(43);
  model[expert + ".weight"] = random_tensor(DType::bf16, {32, 48}, random);
  write_source(model);
  expect_failure({}, expert);
  expect_failure({}, "[32, 48]");
  expect_failure({}, "model.safetensors");
  EXPECT_FALSE(fs::exists(destination()));
}

TEST_F(QuantizerFormatsTest, TheWorkingSetDoesNotGrowWithTheModel) {
  write_source(random_model());
  const auto two_layers = quantize({.num_threads = 1, .dry_run = true});
  ASSERT_TRUE(two_layers);
  // The largest module: w1 of [48, 32] BF16 has 3072 bytes and becomes 960.
  EXPECT_GE(two_layers->working_set_bytes, 3072 + 960);
  const auto sharded = quantize({.max_shard_bytes = 100, .num_threads = 1, .dry_run = true});
  ASSERT_TRUE(sharded);
  EXPECT_EQ(sharded->working_set_bytes, two_layers->working_set_bytes);
}

}  // namespace
}  // namespace tetrad
