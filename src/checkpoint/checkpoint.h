#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/mapped_file.h"
#include "checkpoint/config.h"
#include "checkpoint/quantization_config.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/weight.h"

namespace tetrad {

struct ModulePlace;

/// A checkpoint folder: config.json, generation_config.json (optional) and safetensors, either the
/// shards that model.safetensors.index.json names or a single model.safetensors, mapped. Every view
/// it hands out lives as long as the Checkpoint.
class Checkpoint {
 public:
  /// Opens and checks everything but the data: each header, and that index and shards agree. What
  /// is wrong is told with file, tensor and offset.
  static Result<Checkpoint> open(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }
  const ModelConfig& config() const { return config_; }
  const QuantizationConfig& quantization() const { return quantization_; }
  const GenerationDefaults& generation_defaults() const { return generation_defaults_; }

  /// Bytes of all tensors: what the weights take in memory.
  int64_t total_bytes() const;
  /// All tensors of all shards by name.
  const TensorMap& tensors() const { return tensors_; }
  /// File names of the shards, sorted.
  const std::vector<std::string>& shards() const { return shards_; }
  /// The mapping of each of shards().
  std::span<const MappedFile> files() const { return files_; }
  /// The file a tensor came from, for error texts; "" for a tensor that does not exist.
  std::string shard_of(std::string_view tensor) const;
  /// Where in its file the data of a tensor of this checkpoint begins, in bytes.
  size_t file_offset_of(std::string_view tensor) const;

  const TensorView* find(std::string_view name) const;
  /// Gives back the memory that reading a tensor of this checkpoint took; reading it again brings
  /// it back.
  void release(std::string_view tensor) const;
  /// The same of bytes that lie in one of files().
  void release(std::span<const std::byte> part) const;

  /// The weight matrix of `module` ("model.layers.0.self_attn.q_proj"), whose format is decided
  /// from the tensors present (mxfp4_16 spec, section 6), checked to be [rows, cols].
  /// Experts are also found under other programs' names and in tensors that hold all experts of a
  /// layer (module_place.h).
  Result<WeightMatrix> matrix(std::string_view module, int64_t rows, int64_t cols) const;

  /// The names of the tensors that matrix() reads, scales of activations included; none where the
  /// module is missing. Experts may share them.
  std::vector<std::string> weight_tensors(std::string_view module) const;

  /// A small tensor (norm, bias) of `size` elements, converted to float.
  Result<std::vector<float>> vector(std::string_view tensor, int64_t size) const;

  /// Oddities that do not keep the checkpoint from being read, one sentence each: tensors the index
  /// does not name.
  const std::vector<std::string>& oddities() const { return oddities_; }

 private:
  Result<void> open_shards();
  Result<void> add_shard(const std::string& file_name);
  Result<WeightMatrix> matrix_at(const ModulePlace& place, int64_t rows, int64_t cols) const;
  Error located(Error error, std::string_view tensor) const;

  std::filesystem::path folder_;
  ModelConfig config_;
  QuantizationConfig quantization_;
  GenerationDefaults generation_defaults_;
  std::vector<std::string> shards_;
  std::vector<MappedFile> files_;  // one for each of shards_
  TensorMap tensors_;
  std::map<std::string, size_t, std::less<>> shard_index_of_;
  std::vector<std::string> oddities_;
};

}  // namespace tetrad
