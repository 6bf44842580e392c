#include "quant/quantizer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

#include "checkpoint/kv_scales.h"
#include "quant/quantizer_fixture_for_tests.h"

namespace tetrad {
namespace {

TEST_F(QuantizerTest, MakesACheckpointNearTheSource) {
  const Tensors model = random_model();
  write_source(model);
  const auto report = quantize();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->quantized.count, kQuantizedMatrices);
  EXPECT_EQ(report->matrices.size(), size_t{kQuantizedMatrices});
  EXPECT_TRUE(report->unknown_tensors.empty());

  const auto before = Checkpoint::open(source());
  const auto after = Checkpoint::open(destination());
  ASSERT_TRUE(before && after);
  expect_near_the_source(*before, *after, 0.075);
  EXPECT_EQ(after->shards(), std::vector<std::string>{"model-00001-of-00001.safetensors"});
  for (const auto& [name, tensor] : model) {
    if (is_to_be_quantized(name)) {
      EXPECT_EQ(after->find(name), nullptr) << name;
      const std::string module = name.substr(0, name.size() - std::strlen(".weight"));
      const TensorView* packed = after->find(module + ".weight_packed");
      const TensorView* scale = after->find(module + ".weight_scale");
      ASSERT_TRUE(packed != nullptr && scale != nullptr) << name;
      EXPECT_EQ(packed->dtype, DType::u8);
      EXPECT_EQ(packed->shape, (std::vector<int64_t>{tensor.shape[0], tensor.shape[1] / 2}));
      EXPECT_EQ(scale->dtype, DType::f16);
      EXPECT_EQ(scale->shape, (std::vector<int64_t>{tensor.shape[0], tensor.shape[1] / 16}));
    } else {
      const TensorView* kept = after->find(name);
      ASSERT_NE(kept, nullptr) << name;
      EXPECT_EQ(kept->dtype, tensor.dtype);
      EXPECT_EQ(kept->shape, tensor.shape);
      EXPECT_TRUE(std::equal(kept->bytes.begin(), kept->bytes.end(), tensor.bytes.begin(),
                             tensor.bytes.end()));
    }
  }
  EXPECT_EQ(after->tensors().size(), model.size() + kQuantizedMatrices);
}

TEST_F(QuantizerTest, WritesTheFilesBesideTheWeights) {
  write_source(random_model());
  const auto report = quantize();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->copied_files,
            (std::vector<std::string>{"tokenizer.json", "generation_config.json"}));
  const auto files = contents(destination());
  EXPECT_EQ(files.at("tokenizer.json"), R"({"model": {}})");
  EXPECT_EQ(files.at("generation_config.json"), R"({"top_k": 40})");
  const json::value config = parse_json(files.at("config.json")).value();
  EXPECT_EQ(config.at("quantization_config").at("quant_method"), "mxfp4_16");
  EXPECT_EQ(config.at("hidden_size"), 32);
  const json::value index = parse_json(files.at("model.safetensors.index.json")).value();
  EXPECT_EQ(index.at("metadata").at("total_size"), report->bytes);
  EXPECT_EQ(index.at("weight_map").at("lm_head.weight"), "model-00001-of-00001.safetensors");
  EXPECT_EQ(files.count("quantize_manifest.json"), 1u);
  EXPECT_EQ(files.size(), 6u) << "no temporary file is left";
}

TEST_F(QuantizerTest, TheThreadsDoNotShowInTheBytes) {
  write_source(random_model());
  ASSERT_TRUE(quantize({.num_threads = 1}));
  const auto one = contents(destination());
  ASSERT_TRUE(quantize({.num_threads = 3, .overwrite = true}));
  EXPECT_EQ(contents(destination()), one);
}

TEST_F(QuantizerTest, ShardsRespectTheLimit) {
  write_source(random_model());
  ASSERT_TRUE(quantize());
  const auto whole = Checkpoint::open(destination());
  ASSERT_TRUE(whole);
  std::map<std::string, std::vector<std::byte>> tensors;
  for (const auto& [name, view] : whole->tensors())
    tensors[name].assign(view.bytes.begin(), view.bytes.end());

  constexpr int64_t kLimit = 4000;
  const auto report = quantize({.max_shard_bytes = kLimit, .overwrite = true});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GE(report->num_shards, report->bytes / kLimit);
  const auto sharded = Checkpoint::open(destination());
  ASSERT_TRUE(sharded) << sharded.error().message;
  EXPECT_EQ(static_cast<int64_t>(sharded->shards().size()), report->num_shards);
  std::map<std::string, int64_t> bytes;
  for (const auto& [name, view] : sharded->tensors()) {
    bytes[sharded->shard_of(name)] += static_cast<int64_t>(view.bytes.size());
    EXPECT_TRUE(std::equal(view.bytes.begin(), view.bytes.end(), tensors.at(name).begin(),
                           tensors.at(name).end()))
        << name;
  }
  EXPECT_EQ(sharded->tensors().size(), tensors.size());
  for (const auto& [shard, size] : bytes)
    EXPECT_LE(size, kLimit) << shard;
}

TEST_F(QuantizerTest, ReadsBlockFp8AndForgetsItsScales) {
  write_source(random_model(DType::f8_e4m3), R"(, "quantization_config": {"quant_method": "fp8",
      "weight_block_size": [128, 128]})");
  const auto report = quantize();
  ASSERT_TRUE(report) << report.error().message;
  const auto before = Checkpoint::open(source());
  const auto after = Checkpoint::open(destination());
  ASSERT_TRUE(before && after) << after.error().message;
  EXPECT_EQ(after->quantization().quant_method, "mxfp4_16");
  // The codes are random bits, far from Gaussian: many small values beside large ones.
  expect_near_the_source(*before, *after, 0.12);
  for (const auto& [name, view] : after->tensors())
    EXPECT_FALSE(name.ends_with("weight_scale_inv")) << name;
}

TEST_F(QuantizerTest, ReadsF16AndF32) {
  for (const DType dtype : {DType::f16, DType::f32}) {
    write_source(random_model(dtype));
    const auto report = quantize({.overwrite = true});
    ASSERT_TRUE(report) << report.error().message;
    const auto before = Checkpoint::open(source());
    const auto after = Checkpoint::open(destination());
    ASSERT_TRUE(before && after);
    expect_near_the_source(*before, *after, 0.075);
  }
}

TEST_F(QuantizerTest, CarriesOverWhatIsNotOfTheModelItself) {
  Tensors model = random_model();
  std::mt19937 random(22);
  model["model.layers.2.eh_proj.weight"] = random_tensor(DType::bf16, {32, 32}, random);  // MTP
  model["model.layers.0.self_attn.rotary_emb.inv_freq"] = random_tensor(DType::f32, {4}, random);
  for (const std::string layer : {"0", "1"}) {
    const std::string attention = "model.layers." + layer + ".self_attn.";
    model[attention + "k_proj.k_scale"] = random_tensor(DType::f32, {1}, random);
    model[attention + "v_proj.v_scale"] = random_tensor(DType::f32, {1}, random);
  }
  write_source(model);
  const auto report = quantize();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->unknown_tensors,
            std::vector<std::string>{"model.layers.0.self_attn.rotary_emb.inv_freq"});
  const auto after = Checkpoint::open(destination());
  ASSERT_TRUE(after);
  EXPECT_EQ(after->tensors().size(), model.size() + kQuantizedMatrices);
  for (const std::string name :
       {"model.layers.2.eh_proj.weight", "model.layers.0.self_attn.rotary_emb.inv_freq",
        "model.layers.1.self_attn.k_proj.k_scale"}) {
    ASSERT_NE(after->find(name), nullptr) << name;
    EXPECT_EQ(after->find(name)->bytes.size(), model.at(name).bytes.size());
  }
  EXPECT_TRUE(after->config().raw.at("quantization_config").at("kv_cache_scheme").is_object());
}

TEST_F(QuantizerTest, WritesMeasuredKvScalesInThePlaceOfOthers) {
  Tensors model = random_model();
  write_source(model);
  ASSERT_TRUE(quantize());
  std::map<std::string, std::string> without;
  {
    const auto plain = Checkpoint::open(destination());
    ASSERT_TRUE(plain);
    for (const auto& [name, view] : plain->tensors())
      without[name] = {reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size()};
  }
  std::mt19937 random(23);
  model["model.layers.0.self_attn.k_proj.k_scale"] = random_tensor(DType::f32, {1}, random);
  model["model.layers.1.self_attn.kv_scale"] = random_tensor(DType::f32, {1}, random);
  model["model.layers.1.self_attn.q_scale"] = random_tensor(DType::f32, {1}, random);
  write_source(model);
  PlainEncoder encoder(ScaleSearch::exact, {{0.5f, 0.25f}, {3.0f, 7.0f}});
  const auto report = quantize({.overwrite = true, .encoder = &encoder});
  ASSERT_TRUE(report) << report.error().message;
  const auto after = Checkpoint::open(destination());
  ASSERT_TRUE(after);
  const CheckpointKvScales scales = read_kv_scales(*after);
  ASSERT_EQ(scales.layers.size(), 2u);
  EXPECT_EQ(scales.layers[0], (KvScales{0.5f, 0.25f}));
  EXPECT_EQ(scales.layers[1], (KvScales{3.0f, 7.0f}));
  EXPECT_TRUE(scales.announced);
  EXPECT_TRUE(scales.warnings.empty());
  // Nothing else has changed, but for the scale of queries, which is carried over.
  EXPECT_EQ(after->tensors().size(), without.size() + 4 + 1);
  for (const auto& [name, bytes] : without) {
    const TensorView* view = after->find(name);
    ASSERT_NE(view, nullptr) << name;
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(view->bytes.data()), view->bytes.size()),
              bytes)
        << name;
  }
  for (const std::string layer : {"0", "1"}) {
    const TensorView* k = after->find("model.layers." + layer + ".self_attn.k_scale");
    ASSERT_NE(k, nullptr);
    EXPECT_EQ(k->dtype, DType::f32);
    EXPECT_EQ(k->shape, std::vector<int64_t>{1});
  }
  int64_t bytes = 0;
  for (const auto& [name, view] : after->tensors())
    bytes += static_cast<int64_t>(view.bytes.size());
  EXPECT_EQ(report->bytes, bytes);
}

TEST_F(QuantizerTest, AnEncoderThatFailsEndsTheRunAndIsNotAskedInADryRun) {
  class Failing : public PlainEncoder {
   public:
    Failing() : PlainEncoder(ScaleSearch::exact, {{1, 1}, {1, 1}}) {}
    Result<KvScales> kv_scales(int64_t layer) override {
      return fail(ErrorCode::corrupt_data, "no sound in layer {}", layer);
    }
  };
  write_source(random_model());
  Failing encoder;
  ASSERT_TRUE(quantize({.dry_run = true, .encoder = &encoder}));
  expect_failure({.encoder = &encoder}, "no sound in layer 0");
  EXPECT_FALSE(Checkpoint::open(destination()));
}

TEST_F(QuantizerTest, ReportsProgressToTheEnd) {
  write_source(random_model());
  QuantizeProgress last;
  std::string last_module;
  int encoded = 0;
  QuantizeOptions options;
  options.on_progress = [&](const QuantizeProgress& progress) {
    EXPECT_EQ(progress.modules, last.modules + 1);
    encoded += progress.parameters > last.parameters ? 1 : 0;
    last = progress;
    last_module = progress.module;
  };
  ASSERT_TRUE(quantize(options));
  EXPECT_EQ(encoded, kQuantizedMatrices);
  EXPECT_EQ(last.modules, last.total_modules);
  EXPECT_EQ(last.parameters, last.total_parameters);
  EXPECT_EQ(last.resumed_parameters, 0);
  EXPECT_EQ(last.shard, last.num_shards);
  EXPECT_EQ(last_module, "lm_head");
}

TEST_F(QuantizerTest, ADryRunWritesNothing) {
  write_source(random_model());
  const auto report = quantize({.dry_run = true});
  ASSERT_TRUE(report);
  EXPECT_FALSE(fs::exists(destination()));
  EXPECT_TRUE(report->matrices.empty());
  const auto real = quantize();
  ASSERT_TRUE(real);
  EXPECT_EQ(report->bytes, real->bytes);
  EXPECT_EQ(report->quantized.count, real->quantized.count);
}

TEST_F(QuantizerTest, NamesTheBadWeight) {
  Tensors model = random_model();
  Tensor& tensor = model["model.layers.1.block_sparse_moe.experts.0.w2.weight"];
  const uint16_t nan = 0x7FC0;
  std::memcpy(tensor.bytes.data() + 2 * (5 * 48 + 7), &nan, sizeof nan);
  write_source(model);
  const auto report = quantize();
  ASSERT_FALSE(report);
  for (const std::string part :
       {"model.safetensors", "model.layers.1.block_sparse_moe.experts.0.w2", "row 5, column 7"}) {
    EXPECT_NE(report.error().message.find(part), std::string::npos) << report.error().message;
  }
  EXPECT_FALSE(Checkpoint::open(destination())) << "an unfinished folder must not open";
  // And the same command with --overwrite repairs it.
  write_source(random_model());
  EXPECT_TRUE(quantize({.overwrite = true}));
  EXPECT_TRUE(Checkpoint::open(destination()));
}

TEST_F(QuantizerTest, NamesTheMissingTensorBeforeItWrites) {
  Tensors model = random_model();
  model.erase("model.layers.1.self_attn.o_proj.weight");
  write_source(model);
  expect_failure({}, "model.layers.1.self_attn.o_proj");
  EXPECT_FALSE(fs::exists(destination()));
}

TEST_F(QuantizerTest, RefusesRowsThatAreNoMultipleOfTheGroup) {
  Tensors model = random_model();
  std::mt19937 random(23);
  for (auto& [name, tensor] : model) {
    if (name.find("experts") == std::string::npos) continue;
    const bool down = name.ends_with("w2.weight");
    tensor = random_tensor(DType::bf16, {down ? 32 : 40, down ? 40 : 32}, random);
  }
  write_source(model);
  std::string config = read_text_file(source() / "config.json").value();
  config.replace(config.find("\"intermediate_size\": 48"), 23, "\"intermediate_size\": 40");
  write(source() / "config.json", config);
  expect_failure({}, "40 input channels");
}

TEST_F(QuantizerTest, RefusesWhatIsQuantizedAlready) {
  write_source(random_model());
  ASSERT_TRUE(quantize());
  const auto again = quantize_checkpoint(destination(), destination().parent_path() / "again", {});
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().message.find("quantized to mxfp4_16 already"), std::string::npos);
}

TEST_F(QuantizerTest, OverwritesOnlyWhenToldAndOnlyItsOwn) {
  write_source(random_model());
  fs::create_directories(destination());
  write(destination() / "notes.txt", "mine");
  expect_failure({}, "--overwrite");
  expect_failure({.dry_run = true}, "--overwrite");
  ASSERT_TRUE(quantize({.max_shard_bytes = 4000, .overwrite = true}));
  ASSERT_TRUE(quantize({.overwrite = true}));
  const auto files = contents(destination());
  EXPECT_EQ(files.at("notes.txt"), "mine");
  EXPECT_EQ(files.size(), 7u) << "shards of the earlier checkpoint are left";

  const auto reverse = quantize_checkpoint(source(), source(), {.overwrite = true});
  ASSERT_FALSE(reverse);
  EXPECT_NE(reverse.error().message.find("the same folder"), std::string::npos);
  const fs::path other = destination().parent_path() / "other";
  fs::copy(source(), other);
  const auto original = quantize_checkpoint(source(), other, {.overwrite = true});
  ASSERT_FALSE(original);
  EXPECT_NE(original.error().message.find("not quantized"), std::string::npos);
  EXPECT_TRUE(Checkpoint::open(other)) << "it must be untouched";
}

TEST_F(QuantizerTest, RefusesAFileAsDestination) {
  write_source(random_model());
  write(destination(), "text");
  expect_failure({.overwrite = true}, "is a file");
}

TEST_F(QuantizerTest, RefusesAShardOfNoBytes) {
  write_source(random_model());
  expect_failure({.max_shard_bytes = 0}, "shard of 0 bytes");
}

}  // namespace
}  // namespace tetrad
