#pragma once

// A matrix in blocks of rows: what all encoders go through.

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/thread_pool.h"
#include "checkpoint/weight.h"
#include "quant/encode_matrix.h"

namespace tetrad {

/// Takes the rows that begin at `first_row`, [n, cols], all finite, and counts what it loses.
using BlockEncoder =
    std::function<void(int64_t first_row, std::span<const float> weights, QuantizationLoss& loss)>;

/// Dequantizes `block_rows` rows at a time, fewer in the last block, and hands them to an encoder:
/// each thread asks for one of its own. The losses are added in the order of the blocks, so that
/// the sum does not depend on the threads. Error: the first weight that is NaN or infinite, with
/// `module`, row and column; other blocks may have been encoded by then.
Result<QuantizationLoss> encode_row_blocks(std::string_view module, const WeightMatrix& source,
                                           int64_t block_rows, ThreadPool& pool,
                                           const std::function<BlockEncoder()>& make_encoder);

}  // namespace tetrad
