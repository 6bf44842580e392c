#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "checkpoint/config.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/weight.h"

namespace tetrad {

/// A checkpoint folder: config.json, generation_config.json (optional) and sharded safetensors,
/// mapped. Every view it hands out lives as long as the Checkpoint.
class Checkpoint {
 public:
  static Result<Checkpoint> open(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }
  const ModelConfig& config() const { return config_; }
  const GenerationDefaults& generation_defaults() const { return generation_defaults_; }

  /// All tensors of all shards by name.
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  /// The file a tensor came from, for error texts.
  std::string shard_of(std::string_view tensor) const;

  const TensorView* find(std::string_view name) const;

  /// The weight matrix of `module` ("model.layers.0.self_attn.q_proj"), whose format is decided
  /// from the tensors present (mxfp4_16 spec, section 6), checked to be [rows, cols].
  Result<WeightMatrix> matrix(std::string_view module, int64_t rows, int64_t cols) const;

  /// A small tensor (norm, bias) of `size` elements, converted to float.
  Result<std::vector<float>> vector(std::string_view tensor, int64_t size) const;

 private:
  std::filesystem::path folder_;
  ModelConfig config_;
  GenerationDefaults generation_defaults_;
  std::vector<MappedFile> files_;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, std::string, std::less<>> shard_of_;
  Codebook codebook_ = kIq4NlCodebook;
};

}  // namespace tetrad
