#pragma once

// What rank 0 tells the others, and how all of them start together.

#include <cstdint>
#include <functional>

#include "base/error.h"
#include "parallel/communicator.h"

namespace tetrad {

/// What a message of rank 0's is about.
enum class RankMessage : uint32_t {
  heartbeat = 1,  // nothing: whoever has left is noticed
  start,          // a RankStart; all RankModel::start()
  step,           // encode_step()
  row,            // int64: a row of the last step's logits, whole
  stop,           // the others may go
};

/// Has each rank make its KV cache, of as many blocks as the rank with the least room for them has:
/// the result. room: for how many blocks this one has room. By all ranks at once. The outer error
/// is the communicator's, after which nothing goes on; the inner one is that of the first rank
/// which has no room or cannot make it, as gather_outcomes() says it.
Result<Result<int64_t>> make_agreed_cache(parallel::Communicator& ranks,
                                          const Result<int64_t>& room,
                                          const std::function<Result<void>(int64_t blocks)>& make);

}  // namespace tetrad
