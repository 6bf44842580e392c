#include "quant/row_blocks.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/integer_math.h"

namespace tetrad {
namespace {

struct BlockResult {
  QuantizationLoss loss;
  int64_t not_finite = -1;  // index of a weight of the block
};

int64_t find_not_finite(std::span<const float> weights) {
  const auto found = std::ranges::find_if_not(weights, [](float w) { return std::isfinite(w); });
  return found == weights.end() ? -1 : found - weights.begin();
}

}  // namespace

Result<QuantizationLoss> encode_row_blocks(std::string_view module, const WeightMatrix& source,
                                           int64_t block_rows, ThreadPool& pool,
                                           const std::function<BlockEncoder()>& make_encoder) {
  const auto cols = static_cast<size_t>(source.cols);
  std::vector<BlockResult> results(static_cast<size_t>(ceil_div(source.rows, block_rows)));
  pool.parallel_for(static_cast<int64_t>(results.size()), 1, [&](int64_t begin, int64_t end, int) {
    const BlockEncoder encode = make_encoder();
    std::vector<float> rows(static_cast<size_t>(block_rows) * cols);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * block_rows;
      const auto count = static_cast<size_t>(std::min(block_rows, source.rows - first));
      const std::span weights = std::span(rows).first(count * cols);
      for (size_t n = 0; n < count; ++n) {
        dequantize_row(source, first + static_cast<int64_t>(n), weights.subspan(n * cols, cols));
      }
      BlockResult& result = results[static_cast<size_t>(block)];
      result.not_finite = find_not_finite(weights);
      if (result.not_finite < 0) encode(first, weights, result.loss);
    }
  });
  QuantizationLoss sum;
  for (size_t block = 0; block < results.size(); ++block) {
    const auto& [loss, not_finite] = results[block];
    if (not_finite >= 0) {
      return fail(ErrorCode::corrupt_data,
                  "module \"{}\": the weight in row {}, column {} is NaN or infinite", module,
                  static_cast<int64_t>(block) * block_rows + not_finite / source.cols,
                  not_finite % source.cols);
    }
    sum.add(loss);
  }
  return sum;
}

}  // namespace tetrad
