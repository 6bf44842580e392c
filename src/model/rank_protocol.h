#pragma once

// What rank 0 tells the others, and how all of them start together.

#include <cstdint>

#include "base/error.h"
#include "model/cpu_model.h"
#include "model/kv_cache.h"
#include "parallel/communicator.h"

namespace tetrad {

/// What a message of rank 0's is about.
enum class RankMessage : uint32_t {
  heartbeat = 1,  // nothing: whoever has left is noticed
  start,          // a RankStart; all make_agreed_cache()
  step,           // encode_step()
  row,            // int64: a row of the last step's logits, whole
  stop,           // the others may go
};

/// Each rank's KV cache, of as many blocks as the rank with the least room for them has. Made by
/// all ranks at once. The outer error is the communicator's, after which nothing goes on; the inner
/// one is that of the first rank which has none, with its number, and the same on all of them.
Result<Result<KvCache>> make_agreed_cache(CpuModel& model, parallel::Communicator& ranks,
                                          const StepLimits& limits, const KvMemory& memory);

}  // namespace tetrad
