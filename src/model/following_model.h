#pragma once

#include "base/error.h"
#include "model/rank_model.h"
#include "parallel/rank_messages.h"

namespace tetrad {

/// Computes what rank 0 says (leading_model.h) until it lets this rank go. Errors: a rank that does
/// not come any more; a message that is not rank 0's or is not as agreed.
Result<void> follow_rank_0(RankModel& model, const std::shared_ptr<parallel::Communicator>& ranks,
                           const parallel::MessageKey& key);

}  // namespace tetrad
