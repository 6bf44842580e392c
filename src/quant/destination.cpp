#include "quant/destination.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <system_error>

#include "base/json.h"
#include "base/mapped_file.h"
#include "base/pending_file.h"
#include "checkpoint/shard_index.h"
#include "quant/quantize_journal.h"
#include "quant/quantize_manifest.h"

namespace tetrad {
namespace {

namespace fs = std::filesystem;

constexpr std::array kCompanions = {
    "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",     "vocab.json",
    "merges.txt",     "added_tokens.json",     "special_tokens_map.json", "generation_config.json",
    "LICENSE"};

tl::unexpected<Error> folder_error(std::string_view action, const fs::path& path,
                                   const std::error_code& error) {
  return fail(ErrorCode::io, "cannot {} {}: {}", action, path.string(), error.message());
}

bool path_exists(const fs::path& path) {
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
  if (error) return folder_error("list", folder, error);
  return files;
}

Result<void> check_overwrite(const fs::path& folder, bool overwrite) {
  const DestinationState state = destination_state(folder);
  if (state == DestinationState::empty) return {};
  if (!overwrite) {
    if (state != DestinationState::other) return {};  // to be continued, or to be found complete
    return fail(ErrorCode::invalid_argument,
                "{} exists and is not empty; name another folder, or pass --overwrite to replace "
                "the checkpoint in it",
                folder.string());
  }
  TETRAD_ASSIGN(const std::vector<fs::path> weights, weight_files(folder));
  const bool is_own = state != DestinationState::other || path_exists(folder / kManifestFileName);
  if (!weights.empty() && !is_own) {
    return fail(ErrorCode::invalid_argument,
                "{} holds weights that tetrad has not quantized ({}); --overwrite only replaces a "
                "checkpoint that it has made, so name another folder or remove these weights first",
                folder.string(), weights.front().filename().string());
  }
  return {};
}

/// What the weight files in a folder take of its file system: they will be continued or removed.
int64_t bytes_taken(const fs::path& folder) {
  int64_t bytes = 0;
  const auto files = weight_files(folder);
  if (!files) return 0;  // the folder is not there yet
  for (const fs::path& file : *files) {
    struct stat info{};
    if (::stat(file.c_str(), &info) == 0) bytes += int64_t{info.st_blocks} * 512;
  }
  return bytes;
}

Result<void> check_room(const fs::path& folder, int64_t bytes) {
  // The folder may not exist yet; its nearest ancestor that does is on the same file system.
  std::error_code error;
  fs::path existing = fs::absolute(folder, error);
  while (!error && !path_exists(existing) && existing.has_relative_path())
    existing = existing.parent_path();
  if (error) return folder_error("find", folder, error);
  const fs::space_info space = fs::space(existing, error);
  if (error) return folder_error("ask for the free space of", existing, error);
  const int64_t missing = std::max<int64_t>(0, bytes - bytes_taken(folder));
  if (std::cmp_less(space.available, missing)) {
    return fail(ErrorCode::resource_exhausted,
                "{} bytes are still to be written to {}, where only {} are free", missing,
                folder.string(), space.available);
  }
  return {};
}

}  // namespace

DestinationState destination_state(const fs::path& folder) {
  if (path_exists(folder / kJournalFileName)) return DestinationState::unfinished;
  if (path_exists(folder / kManifestFileName) && path_exists(folder / kIndexFileName)) {
    return DestinationState::complete;
  }
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    // A run that ended before it began leaves its lock.
    if (it->path().filename() != kLockFileName) return DestinationState::other;
  }
  return DestinationState::empty;
}

Result<void> check_destination(const fs::path& folder, const Checkpoint& source, int64_t bytes,
                               bool overwrite) {
  std::error_code error;
  if (path_exists(folder) && !fs::is_directory(folder, error)) {
    return fail(ErrorCode::invalid_argument, "{} is a file; a checkpoint is a folder",
                folder.string());
  }
  if (path_exists(folder) && fs::equivalent(folder, source.folder(), error)) {
    return fail(ErrorCode::invalid_argument,
                "source and destination are the same folder, {}; name another destination",
                folder.string());
  }
  TETRAD_TRY(check_overwrite(folder, overwrite));
  return check_room(folder, bytes);
}

Result<void> clear_destination(const fs::path& folder) {
  std::error_code error;
  const auto remove = [&](const fs::path& path) -> Result<void> {
    fs::remove(path, error);
    if (error) return folder_error("remove", path, error);
    return {};
  };
  // First the index: without it no reader takes the rest for a checkpoint. Last the journal: as
  // long as it is there, the weights can be told from someone else's.
  TETRAD_TRY(remove(folder / kIndexFileName));
  TETRAD_ASSIGN(const std::vector<fs::path> files, weight_files(folder));
  for (const fs::path& file : files)
    TETRAD_TRY(remove(file));
  TETRAD_TRY(remove(folder / kManifestFileName));
  return remove(folder / kJournalFileName);
}

Result<std::vector<std::string>> copy_companions(const fs::path& source, const fs::path& folder) {
  std::vector<std::string> copied;
  for (const std::string name : kCompanions) {
    if (!path_exists(source / name)) continue;
    TETRAD_ASSIGN(const std::string text, read_text_file(source / name));
    TETRAD_TRY(write_text_file(folder / name, text));
    copied.push_back(name);
  }
  return copied;
}

}  // namespace tetrad
