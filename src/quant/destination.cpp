#include "quant/destination.h"

#include <array>
#include <system_error>

#include "base/json.h"
#include "base/mapped_file.h"
#include "base/pending_file.h"

namespace tetrad {
namespace {

namespace fs = std::filesystem;

constexpr std::array kCompanions = {
    "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",     "vocab.json",
    "merges.txt",     "added_tokens.json",     "special_tokens_map.json", "generation_config.json",
    "LICENSE"};

tl::unexpected<Error> system_error(std::string_view action, const fs::path& path,
                                   const std::error_code& error) {
  return fail(ErrorCode::io, "cannot {} {}: {}", action, path.string(), error.message());
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

/// The weight files of a checkpoint folder, and what an interrupted run may have left of one.
Result<std::vector<fs::path>> weight_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    fs::path name = it->path().filename();
    if (name.extension() == ".tmp") name = name.stem();
    if (name.extension() == ".safetensors" || name == kIndexFileName) files.push_back(it->path());
  }
  if (error) return system_error("list", folder, error);
  return files;
}

bool is_mxfp4_16(const fs::path& folder) {
  const auto text = read_text_file(folder / "config.json");
  if (!text) return false;
  const auto config = parse_json(*text);
  if (!config || !config->is_object()) return false;
  const auto quantization = QuantizationConfig::parse(config->get_object());
  return quantization && quantization->quant_method.starts_with("mxfp4");
}

Result<void> check_overwrite(const fs::path& folder, bool overwrite) {
  std::error_code error;
  if (!is_there(folder) || fs::is_empty(folder, error)) return {};
  if (error) return system_error("list", folder, error);
  if (!overwrite) {
    return fail(ErrorCode::invalid_argument,
                "{} exists and is not empty; name another folder, or pass --overwrite to replace "
                "the checkpoint in it",
                folder.string());
  }
  TETRAD_ASSIGN(const std::vector<fs::path> weights, weight_files(folder));
  if (!weights.empty() && !is_mxfp4_16(folder)) {
    return fail(
        ErrorCode::invalid_argument,
        "{} holds weights that are not mxfp4_16 ({}); --overwrite only replaces an mxfp4_16 "
        "checkpoint, so name another folder or remove these weights first",
        folder.string(), weights.front().filename().string());
  }
  return {};
}

Result<void> check_room(const fs::path& folder, int64_t bytes) {
  // The folder may not exist yet; its nearest ancestor that does is on the same file system.
  std::error_code error;
  fs::path existing = fs::absolute(folder, error);
  while (!error && !is_there(existing) && existing.has_relative_path())
    existing = existing.parent_path();
  if (error) return system_error("find", folder, error);
  const fs::space_info space = fs::space(existing, error);
  if (error) return system_error("ask for the free space of", existing, error);
  if (space.available < static_cast<uintmax_t>(bytes)) {
    return fail(ErrorCode::resource_exhausted,
                "{} bytes are to be written to {}, where only {} are free", bytes, folder.string(),
                space.available);
  }
  return {};
}

}  // namespace

Result<void> check_destination(const fs::path& folder, const Checkpoint& source, int64_t bytes,
                               bool overwrite) {
  std::error_code error;
  if (is_there(folder) && !fs::is_directory(folder, error)) {
    return fail(ErrorCode::invalid_argument, "{} is a file; a checkpoint is a folder",
                folder.string());
  }
  if (is_there(folder) && fs::equivalent(folder, source.folder(), error)) {
    return fail(ErrorCode::invalid_argument,
                "source and destination are the same folder, {}; name another destination",
                folder.string());
  }
  TETRAD_TRY(check_overwrite(folder, overwrite));
  return check_room(folder, bytes);
}

Result<void> prepare_destination(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return system_error("create", folder, error);
  // First the index: without it no reader takes the rest for a checkpoint.
  fs::remove(folder / kIndexFileName, error);
  if (error) return system_error("remove", folder / kIndexFileName, error);
  TETRAD_ASSIGN(const std::vector<fs::path> files, weight_files(folder));
  for (const fs::path& file : files) {
    fs::remove(file, error);
    if (error) return system_error("remove", file, error);
  }
  return {};
}

Result<std::vector<std::string>> copy_companions(const fs::path& source, const fs::path& folder) {
  std::vector<std::string> copied;
  for (const std::string name : kCompanions) {
    if (!is_there(source / name)) continue;
    TETRAD_ASSIGN(const std::string text, read_text_file(source / name));
    TETRAD_TRY(write_text_file(folder / name, text));
    copied.push_back(name);
  }
  return copied;
}

}  // namespace tetrad
