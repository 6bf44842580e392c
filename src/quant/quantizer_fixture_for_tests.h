#pragma once

// A folder with a small random checkpoint, and one to quantize it to.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/pending_file.h"
#include "checkpoint/checkpoint.h"
#include "quant/quantizer.h"
#include "quant/random_model_for_tests.h"

namespace tetrad {

namespace fs = std::filesystem;
using random_model_for_tests::kConfig;
using random_model_for_tests::kQuantizedMatrices;
using random_model_for_tests::random_model;
using random_model_for_tests::random_tensor;
using random_model_for_tests::Tensor;
using random_model_for_tests::Tensors;

inline bool ends_with_any(const std::string& name, std::initializer_list<std::string_view> ends) {
  for (const std::string_view end : ends) {
    if (name.ends_with(end)) return true;
  }
  return false;
}

inline bool is_to_be_quantized(const std::string& tensor) {
  return ends_with_any(tensor, {"_proj.weight", "w1.weight", "w2.weight", "w3.weight"});
}

class QuantizerTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(testing::TempDir()) /
            fmt::format("quantizer_test_{}_{}", ::getpid(),
                        testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(root_);
    fs::create_directories(source());
  }
  void TearDown() override { fs::remove_all(root_); }

  fs::path source() const { return root_ / "source"; }
  fs::path destination() const { return root_ / "destination"; }

  void write_source(const Tensors& model, std::string_view more_config = "") const {
    write(source() / "config.json", std::string(kConfig) + std::string(more_config) + "}");
    write(source() / "tokenizer.json", R"({"model": {}})");
    write(source() / "generation_config.json", R"({"top_k": 40})");
    std::vector<TensorToWrite> tensors;
    for (const auto& [name, tensor] : model)
      tensors.push_back({name, tensor.dtype, tensor.shape, tensor.bytes});
    ASSERT_TRUE(write_safetensors(source() / "model.safetensors", tensors));
  }

  static void write(const fs::path& path, std::string_view text) {
    ASSERT_TRUE(write_text_file(path, text));
  }

  Result<QuantizeReport> quantize(const QuantizeOptions& options = {}) const {
    return quantize_checkpoint(source(), destination(), options);
  }

  void expect_failure(const QuantizeOptions& options, std::string_view part) const {
    const auto report = quantize(options);
    ASSERT_FALSE(report);
    EXPECT_NE(report.error().message.find(part), std::string::npos) << report.error().message;
  }

  /// All files of a folder with their contents.
  static std::map<std::string, std::string> contents(const fs::path& folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(folder))
      files[entry.path().filename()] = read_text_file(entry.path()).value();
    return files;
  }

 private:
  fs::path root_;
};

inline std::vector<std::vector<float>> rows_of(const Checkpoint& checkpoint,
                                               std::string_view module, int64_t rows,
                                               int64_t cols) {
  const auto matrix = checkpoint.matrix(module, rows, cols);
  std::vector<std::vector<float>> result;
  if (!matrix) {
    ADD_FAILURE() << matrix.error().message;
    return result;
  }
  for (int64_t n = 0; n < rows; ++n) {
    result.emplace_back(static_cast<size_t>(cols));
    dequantize_row(*matrix, n, result.back());
  }
  return result;
}

inline void expect_near_the_source(const Checkpoint& source, const Checkpoint& quantized,
                                   double largest_relative_rms) {
  for (const auto& [name, tensor] : source.tensors()) {
    if (!is_to_be_quantized(name)) continue;
    const std::string module = name.substr(0, name.size() - std::strlen(".weight"));
    const auto before = rows_of(source, module, tensor.shape[0], tensor.shape[1]);
    const auto after = rows_of(quantized, module, tensor.shape[0], tensor.shape[1]);
    ASSERT_EQ(before.size(), after.size());
    double error = 0;
    double energy = 0;
    for (size_t n = 0; n < before.size(); ++n) {
      for (size_t k = 0; k < before[n].size(); ++k) {
        error += std::pow(double{before[n][k]} - after[n][k], 2);
        energy += std::pow(before[n][k], 2);
      }
    }
    EXPECT_LT(std::sqrt(error / energy), largest_relative_rms) << module;
  }
}

}  // namespace tetrad
