#include "checkpoint/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>
#include <system_error>
#include <utility>

#include "checkpoint/architecture.h"
#include "checkpoint/dense_values.h"
#include "checkpoint/module_place.h"
#include "checkpoint/shard_index.h"

namespace tetrad {
namespace {

constexpr const char* kSingleName = "model.safetensors";

bool file_exists(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

Result<json::value> read_json_file(const std::filesystem::path& path) {
  TETRAD_ASSIGN(const std::string text, read_text_file(path));
  auto parsed = parse_json(text);
  if (!parsed) return tl::unexpected(std::move(parsed.error()).in(path.string()));
  return parsed;
}

/// Reads a JSON file of the folder with `parse`; errors name the file.
template <class Parse>
auto read_config_file(const std::filesystem::path& path, Parse parse)
    -> decltype(parse(std::declval<const json::value&>())) {
  TETRAD_ASSIGN(const json::value value, read_json_file(path));
  auto parsed = parse(value);
  if (!parsed) return tl::unexpected(std::move(parsed.error()).in(path.string()));
  return parsed;
}

Result<void> check_folder(const std::filesystem::path& folder) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(folder, error);
  if (!std::filesystem::exists(status)) {
    return fail(ErrorCode::not_found, "there is no checkpoint folder {}", folder.string());
  }
  if (!std::filesystem::is_directory(status)) {
    return fail(ErrorCode::invalid_argument,
                "{} is not a folder; give the folder that holds config.json", folder.string());
  }
  if (!file_exists(folder / "config.json")) {
    return fail(ErrorCode::not_found, "{} has no config.json, so it is not a checkpoint folder",
                folder.string());
  }
  return {};
}

/// What to say when neither an index nor model.safetensors exists.
tl::unexpected<Error> no_weights(const std::filesystem::path& folder) {
  size_t shards = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    shards += entry.path().extension() == ".safetensors" ? 1u : 0u;
  if (shards > 0) {
    return fail(ErrorCode::not_found,
                "{} has {} .safetensors files but neither {}, which would say what belongs to the "
                "model, nor {}",
                folder.string(), shards, kIndexFileName, kSingleName);
  }
  return fail(ErrorCode::not_found, "{} has no weights: neither {} nor {}", folder.string(),
              kIndexFileName, kSingleName);
}

Result<ShardIndex> read_index(const std::filesystem::path& folder) {
  TETRAD_ASSIGN(ShardIndex index, read_config_file(folder / kIndexFileName, parse_shard_index));
  if (!file_exists(folder / kSingleName)) return index;
  for (const auto& [tensor, file] : index) {
    if (file == kSingleName) return index;
  }
  return fail(ErrorCode::corrupt_data,
              "{} has both {} and a {} that the index does not name; remove the one that is not "
              "meant",
              folder.string(), kIndexFileName, kSingleName);
}

Result<std::vector<float>> vector_values(const TensorView& tensor, int64_t size) {
  if (tensor.shape != std::vector<int64_t>{size}) {
    return fail(ErrorCode::corrupt_data, "shape [{}] where [{}] is needed",
                fmt::join(tensor.shape, ", "), size);
  }
  return dense_values(tensor);
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const std::filesystem::path& folder) {
  TETRAD_TRY(check_folder(folder));
  Checkpoint checkpoint;
  checkpoint.folder_ = folder;
  const std::filesystem::path config_path = folder / "config.json";
  TETRAD_ASSIGN(checkpoint.config_, read_config_file(config_path, ModelConfig::parse));
  auto quantization = QuantizationConfig::parse(checkpoint.config_.raw);
  if (!quantization) {
    return tl::unexpected(std::move(quantization.error()).in(config_path.string()));
  }
  checkpoint.quantization_ = std::move(*quantization);
  if (const auto path = folder / "generation_config.json"; file_exists(path)) {
    TETRAD_ASSIGN(checkpoint.generation_defaults_,
                  read_config_file(path, GenerationDefaults::parse));
  }
  TETRAD_TRY(checkpoint.open_shards());
  return checkpoint;
}

Result<void> Checkpoint::open_shards() {
  if (!file_exists(folder_ / kIndexFileName)) {
    if (!file_exists(folder_ / kSingleName)) return no_weights(folder_);
    return add_shard(kSingleName);
  }
  TETRAD_ASSIGN(const ShardIndex index, read_index(folder_));
  std::set<std::string> names;
  for (const auto& [tensor, file] : index)
    names.insert(file);
  for (const std::string& name : names) {
    if (!file_exists(folder_ / name)) {
      return fail(ErrorCode::not_found, "{} is missing, though {} names it",
                  (folder_ / name).string(), kIndexFileName);
    }
    TETRAD_TRY(add_shard(name));
  }
  for (const auto& [tensor, file] : index) {
    if (shard_of(tensor) == file) continue;
    return fail(ErrorCode::corrupt_data, "{}: tensor \"{}\" is missing, though {} names it",
                (folder_ / file).string(), tensor, kIndexFileName);
  }
  for (const auto& [tensor, view] : tensors_) {
    if (index.contains(tensor)) continue;
    oddities_.push_back(
        fmt::format("{}: tensor \"{}\" is not in {}", shard_of(tensor), tensor, kIndexFileName));
  }
  return {};
}

Result<void> Checkpoint::add_shard(const std::string& file_name) {
  const std::string path = (folder_ / file_name).string();
  TETRAD_ASSIGN(MappedFile file, MappedFile::open(path));
  auto tensors = parse_safetensors(file.bytes());
  if (!tensors) return tl::unexpected(std::move(tensors.error()).in(path));
  for (auto& [name, view] : *tensors) {
    const auto [placed, is_new] = shard_index_of_.emplace(name, shards_.size());
    if (!is_new) {
      return fail(ErrorCode::corrupt_data, "{}: tensor \"{}\" is in {} too", path, name,
                  shards_[placed->second]);
    }
    tensors_.emplace(name, std::move(view));
  }
  shards_.push_back(file_name);
  files_.push_back(std::move(file));
  return {};
}

std::string Checkpoint::shard_of(std::string_view tensor) const {
  const auto found = shard_index_of_.find(tensor);
  return found == shard_index_of_.end() ? std::string() : shards_[found->second];
}

size_t Checkpoint::file_offset_of(std::string_view tensor) const {
  const TensorView* view = find(tensor);
  const auto shard = shard_index_of_.find(tensor);
  if (view == nullptr || shard == shard_index_of_.end()) return 0;
  return static_cast<size_t>(view->bytes.data() - files_[shard->second].bytes().data());
}

int64_t Checkpoint::total_bytes() const {
  int64_t total = 0;
  for (const auto& [name, tensor] : tensors_)
    total += static_cast<int64_t>(tensor.bytes.size());
  return total;
}

const TensorView* Checkpoint::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

void Checkpoint::release(std::string_view tensor) const {
  const TensorView* view = find(tensor);
  const auto shard = shard_index_of_.find(tensor);
  if (view == nullptr || shard == shard_index_of_.end()) return;
  files_[shard->second].release(view->bytes);
}

void Checkpoint::release(std::span<const std::byte> part) const {
  const auto holds = [&](const MappedFile& file) {
    const std::span<const std::byte> all = file.bytes();
    return std::less_equal<>{}(all.data(), part.data()) &&
           std::less_equal<>{}(part.data() + part.size(), all.data() + all.size());
  };
  const auto file = std::ranges::find_if(files_, holds);
  if (file != files_.end()) file->release(part);
}

Error Checkpoint::located(Error error, std::string_view tensor) const {
  return std::move(error).in((folder_ / shard_of(tensor)).string());
}

Result<WeightMatrix> Checkpoint::matrix(std::string_view module, int64_t rows, int64_t cols) const {
  const ModulePlace place = find_module(tensors_, module);
  if (place.tensors.empty()) {
    TETRAD_TRY(refuse_gpt_oss_experts(tensors_, module));
    return fail(ErrorCode::not_found, "{} has no tensor of the module \"{}\" [{}, {}]",
                folder_.string(), module, rows, cols);
  }
  auto matrix = matrix_at(place, rows, cols);
  if (!matrix) {
    Error error = std::move(matrix.error()).in(fmt::format("module \"{}\"", module));
    return tl::unexpected(
        located(std::move(error), place.tensor_name(place.tensors.begin()->first)));
  }
  return matrix;
}

Result<WeightMatrix> Checkpoint::matrix_at(const ModulePlace& place, int64_t rows,
                                           int64_t cols) const {
  const CodeMeaning meaning{quantization_.codebook, quantization_.nibble_order};
  if (!place.expert) return weight_matrix_of(place.tensors, rows, cols, meaning);
  TETRAD_ASSIGN(const ExpertSlices slices,
                ExpertSlices::cut(place, config_.num_local_experts, rows));
  return weight_matrix_of(slices.tensors(), rows, cols, meaning);
}

std::vector<std::string> Checkpoint::weight_tensors(std::string_view module) const {
  const ModulePlace place = find_module(tensors_, module);
  std::vector<std::string> names;
  for (const auto& [suffix, view] : place.tensors) {
    std::string name = place.tensor_name(suffix);
    if (!parse_kv_scale_name(name)) names.push_back(std::move(name));
  }
  return names;
}

Result<std::vector<float>> Checkpoint::vector(std::string_view tensor, int64_t size) const {
  const TensorView* view = find(tensor);
  if (view == nullptr) {
    return fail(ErrorCode::not_found, "{} has no tensor \"{}\" [{}]", folder_.string(), tensor,
                size);
  }
  auto values = vector_values(*view, size);
  if (!values) {
    Error error = std::move(values.error()).in(fmt::format("tensor \"{}\"", tensor));
    return tl::unexpected(located(std::move(error), tensor));
  }
  return values;
}

}  // namespace tetrad
