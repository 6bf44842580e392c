#pragma once

// Scales of an FP8 KV cache that come with a checkpoint (mxfp4_16 spec, section 5).

#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace tetrad {

/// Of one layer: an FP8 cache stores its keys and values divided by these.
struct KvScales {
  float k = 1;
  float v = 1;

  bool operator==(const KvScales&) const = default;
};

struct CheckpointKvScales {
  /// One for each layer; nothing where the checkpoint has no scale that can be used.
  std::vector<std::optional<KvScales>> layers;
  /// config.json says that the KV cache is meant to be FP8, whether there are scales or not.
  bool announced = false;
  /// What was not as it should be, one sentence each.
  std::vector<std::string> warnings;

  int64_t num_layers_with_scales() const;
};

/// Looks for the scales of every layer under every name of the specification. Nothing here keeps a
/// checkpoint from being read: a scale that is no positive number, has another dtype or shape, or
/// contradicts another name's counts as missing, with a warning. Of k_scale and v_scale a layer may
/// have one, which then is used for both; kv_scale stands for whichever is missing. A scale for
/// each KV head becomes one for the layer, the largest, with which no head saturates earlier.
CheckpointKvScales read_kv_scales(const Checkpoint& checkpoint);

}  // namespace tetrad
