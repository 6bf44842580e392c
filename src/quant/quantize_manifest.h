#pragma once

// quantize_manifest.json: stays in the checkpoint and says how it was made and which bytes it is
// made of. No dates, no paths: making it again gives the same file.

#include <filesystem>
#include <map>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "quant/quantize_journal.h"

namespace tetrad {

inline constexpr const char* kManifestFileName = "quantize_manifest.json";

struct QuantizeManifest {
  json::value run;  // the run's identity
  std::map<std::string, FinishedFile> files;

  /// {"run": …, "files": {name: {"bytes": …, "blake2b_256": …}}}
  json::object to_json() const;
  static Result<QuantizeManifest> read(const std::filesystem::path& folder);

  /// Reads all files. Errors (corrupt_data) name the first that is not what it was.
  Result<void> verify(const std::filesystem::path& folder) const;
};

}  // namespace tetrad
