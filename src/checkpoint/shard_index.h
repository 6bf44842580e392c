#pragma once

#include <functional>
#include <map>
#include <string>

#include "base/error.h"
#include "base/json.h"

namespace tetrad {

inline constexpr const char* kIndexFileName = "model.safetensors.index.json";

/// Tensor name -> file name, from the `weight_map` of a model.safetensors.index.json.
using ShardIndex = std::map<std::string, std::string, std::less<>>;

/// Refuses file names that lead out of the checkpoint's folder.
Result<ShardIndex> parse_shard_index(const json::value& index);

}  // namespace tetrad
