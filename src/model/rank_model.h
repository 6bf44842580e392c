#pragma once

// One of the ranks that compute a model together, as those see it who say what comes next
// (leading_model.h, following_model.h): a share of the model on processors or on a GPU.

#include <cstdint>
#include <memory>

#include "base/error.h"
#include "model/device_model.h"
#include "model/step_model.h"
#include "parallel/communicator.h"

namespace tetrad {

/// All ranks start and finish the same steps, with the same uses, and each gets the same logits.
class RankSteps : public StepModel {
 public:
  /// Whether this rank can bring a row of the last step's logits by itself. Where one cannot none
  /// can, and all must ask StepLogits for it at once.
  virtual bool has_row(int64_t row) const = 0;
  /// Whether finish() talks to the other ranks on the host, where one may talk at a time. A device
  /// talks by itself.
  virtual bool finish_talks() const = 0;
};

struct StartedRank {
  std::unique_ptr<RankSteps> steps;
  int64_t num_kv_blocks = 0;
};

class RankModel {
 public:
  virtual ~RankModel() = default;

  /// What it is; its own start() is not for ranks.
  virtual const DeviceModel& device_model() const = 0;

  /// By all ranks at once: room for steps within `limits`, and a KV cache of as many blocks as the
  /// rank with the least room for them has. The outer error is the communicator's, after which
  /// nothing goes on; the inner one is that of the first rank which has no room, with its number,
  /// and the same on all of them.
  virtual Result<Result<StartedRank>> start(const StepLimits& limits, const KvMemory& memory) = 0;
};

}  // namespace tetrad
