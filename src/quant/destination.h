#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"

namespace tetrad {

enum class DestinationState : uint8_t {
  empty,       // or not there
  unfinished,  // a run of the quantizer was stopped in it
  complete,    // a run of the quantizer has come to its end
  other,
};

DestinationState destination_state(const std::filesystem::path& folder);

/// Whether a checkpoint of `bytes` may be written to `folder`, without touching it: the folder must
/// not be the source, must be empty or of the quantizer unless `overwrite`, may then only hold what
/// the quantizer has made (an original that took months to train is not replaced by its 4-bit
/// copy), and the file system must have the room, of which what is there counts as a part.
Result<void> check_destination(const std::filesystem::path& folder, const Checkpoint& source,
                               int64_t bytes, bool overwrite);

/// Removes the weights, the index and what an earlier run may have left; other files stay.
Result<void> clear_destination(const std::filesystem::path& folder);

/// Copies the files beside the weights that the source has (tokenizer, chat template, generation
/// defaults, licence) and returns their names.
Result<std::vector<std::string>> copy_companions(const std::filesystem::path& source,
                                                 const std::filesystem::path& folder);

inline constexpr const char* kLockFileName = "tetrad-quantize.lock";

}  // namespace tetrad
