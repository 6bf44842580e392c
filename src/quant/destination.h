#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"

namespace tetrad {

/// Whether a checkpoint of `bytes` may be written to `folder`, without touching it: the folder must
/// not be the source, must not hold anything unless `overwrite`, may then only hold an mxfp4_16
/// checkpoint (an original that took months to train is not replaced by its 4-bit copy), and the
/// file system must have the room.
Result<void> check_destination(const std::filesystem::path& folder, const Checkpoint& source,
                               int64_t bytes, bool overwrite);

/// Makes the folder and removes the weights and the index of an earlier checkpoint in it; other
/// files stay.
Result<void> prepare_destination(const std::filesystem::path& folder);

/// Copies the files beside the weights that the source has (tokenizer, chat template, generation
/// defaults, licence) and returns their names.
Result<std::vector<std::string>> copy_companions(const std::filesystem::path& source,
                                                 const std::filesystem::path& folder);

inline constexpr const char* kIndexFileName = "model.safetensors.index.json";

}  // namespace tetrad
