#pragma once

#include <cstdint>

#include "base/error.h"
#include "engine/request.h"

namespace tetrad {

/// Refuses what cannot be computed, naming the field. max_model_len: tokens of prompt and answer.
Result<void> check_request(const GenerationRequest& request, int64_t vocab_size,
                           int64_t max_model_len);

}  // namespace tetrad
