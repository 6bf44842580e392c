#pragma once

// The second stage of quantizing: rounding that makes up for itself.

#include <string_view>

#include "base/error.h"
#include "base/thread_pool.h"
#include "checkpoint/weight.h"
#include "quant/encode_matrix.h"
#include "quant/input_moments.h"

namespace tetrad {

/// Encodes a matrix to mxfp4_16, group after group of input channels from the last to the first.
/// The weights of a group are first moved by what makes up for the errors already made behind them,
/// as far as `factor` reaches; then its scale is searched anew, with the factor's pivots as
/// importance, and of that scale and some near it the one is kept under which rounding column by
/// column, each seeing the errors of those before it, costs least.
///
/// The result depends neither on the number of threads nor on the instruction set. `loss` compares
/// with the source's weights: it is larger than without correction, and the outputs are closer.
/// factor.cols() must be source.cols. Errors: a weight that is NaN or infinite.
Result<EncodedMatrix> encode_corrected(std::string_view module, const WeightMatrix& source,
                                       const InputFactor& factor, ScaleSearch search,
                                       ThreadPool& pool);

}  // namespace tetrad
