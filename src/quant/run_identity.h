#pragma once

// What a run of the quantizer is: two runs of the same identity write the same bytes, so one can go
// on where the other was stopped.

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "quant/encode_matrix.h"

namespace tetrad {

struct IdentityOptions {
  TargetFormat format = TargetFormat::mxfp4_16;
  int64_t max_shard_bytes = 0;
  std::vector<std::string> keep;
  json::object encoder;  // ModuleEncoder::identity()
};

/// {"tetrad": version, "source": {file: {"bytes", "sample"}}, "options": {…}}: no dates and no
/// paths, so that it can go into the checkpoint. A "sample" is the digest of the whole file up to
/// 16 MiB, else of the first MiB, the last and 256 pieces of 4 KiB between: another training of the
/// same model differs in all of them. A change of a few weights does not show.
Result<json::object> run_identity(const Checkpoint& source, const IdentityOptions& options);

/// Where an identity that was read from a file and this run's differ, for a person: "options.format
/// was \"bf16\" and is \"mxfp4\" now";
/// "" where they do not.
std::string identity_difference(const json::value& before, const json::object& now);

}  // namespace tetrad
