#include "quant/input_moments.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "quant/quant_kernels.h"

namespace tetrad {
namespace {

constexpr int64_t kLanes = kCorrectionLanes;
/// Rows of activations, or of the factor, that are added up in one go: their panels stay in the
/// cache.
constexpr int64_t kDepth = 64;

/// Rows of a matrix cut into panels of 16 columns, each contiguous: [cols / 16, rows, 16]. Read
/// with the matrix' own stride, the rows of a column of tiles would all fall into one set of the
/// cache.
class Panels {
 public:
  Panels(int64_t max_rows, int64_t cols)
      : max_rows_(max_rows), values_(static_cast<size_t>(max_rows * cols)) {}

  /// `source` is row 0; columns from `first_col` on, a multiple of 16.
  void pack(const float* source, int64_t stride, int64_t rows, int64_t first_col, int64_t cols,
            ThreadPool& pool) {
    pool.parallel_for((cols - first_col) / kLanes, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t p = first_col / kLanes + begin; p < first_col / kLanes + end; ++p) {
        float* out = values_.data() + p * max_rows_ * kLanes;
        for (int64_t t = 0; t < rows; ++t)
          std::memcpy(out + t * kLanes, source + t * stride + p * kLanes, kLanes * sizeof(float));
      }
    });
  }
  const float* panel(int64_t index) const { return values_.data() + index * max_rows_ * kLanes; }

 private:
  int64_t max_rows_;
  std::vector<float> values_;
};

/// body(i) for rows of tiles i in [0, count), dealt out like cards: the later ones of a triangle
/// are shorter.
template <class Body>
void deal(int64_t count, ThreadPool& pool, const Body& body) {
  pool.run([&](int thread) {
    for (int64_t i = thread; i < count; i += pool.num_threads())
      body(i);
  });
}

/// h[i, j] += sign · Σ_t panels[t, i] panels[t, j] for first <= i and j from i's own panel on to
/// end_of(i): the upper triangle, or the blocks on the diagonal, and a little below it.
template <class EndOf>
void add_products(const Panels& panels, int64_t rows, int64_t first, int64_t cols, float sign,
                  std::vector<float>& h, const EndOf& end_of, ThreadPool& pool) {
  const QuantKernels& kernels = quant_kernels();
  deal((cols - first) / kTileHeight, pool, [&](int64_t tile) {
    const int64_t i = first + tile * kTileHeight;
    const float* a = panels.panel(i / kLanes) + i % kLanes;
    for (int64_t j = i / kLanes * kLanes; j < end_of(i); j += kLanes) {
      alignas(64) std::array<float, kTileHeight * kLanes> sums{};
      kernels.accumulate(a, kLanes, panels.panel(j / kLanes), rows, sums.data());
      for (int64_t row = 0; row < kTileHeight; ++row) {
        float* target = h.data() + (i + row) * cols + j;
        for (int64_t lane = 0; lane < kLanes; ++lane)
          target[lane] += sign * sums[static_cast<size_t>(row * kLanes + lane)];
      }
    }
  });
}

/// The upper triangle of Σ_t x[t] x[t]ᵀ, or its 16 x 16 blocks on the diagonal, [cols, cols].
std::vector<float> sum_of_products(Activations x, CorrectionReach reach, ThreadPool& pool) {
  std::vector<float> h(static_cast<size_t>(x.cols * x.cols));
  Panels panels(kDepth, x.cols);
  for (int64_t t = 0; t < x.rows; t += kDepth) {
    const int64_t rows = std::min(kDepth, x.rows - t);
    panels.pack(x.row(t), x.cols, rows, 0, x.cols, pool);
    add_products(
        panels, rows, 0, x.cols, 1.0f, h,
        [&](int64_t i) {
          return reach == CorrectionReach::matrix ? x.cols : i / kLanes * kLanes + kLanes;
        },
        pool);
  }
  return h;
}

/// h += damping · mean of its diagonal, and one where that is zero: no activations, no opinion.
Result<void> damp(std::vector<float>& h, int64_t cols, float damping, int64_t num_rows) {
  double sum = 0;
  for (int64_t i = 0; i < cols; ++i)
    sum += h[static_cast<size_t>(i * cols + i)];
  if (!std::isfinite(sum)) {
    return fail(ErrorCode::corrupt_data, "the activations are not finite in {} rows", num_rows);
  }
  const auto lambda = static_cast<float>(damping * sum / static_cast<double>(cols));
  for (int64_t i = 0; i < cols; ++i)
    h[static_cast<size_t>(i * cols + i)] += lambda > 0 ? lambda : 1.0f;
  return {};
}

/// Rows begin … end - 1 of R with H = RᵀR, for the columns begin … end - 1; what is left of H
/// stands there. A pivot that rounding has taken away is put back to a share of the damping.
void factor_block(std::vector<float>& h, int64_t cols, int64_t begin, int64_t end, float floor) {
  const auto at = [&](int64_t i, int64_t j) -> float& {
    return h[static_cast<size_t>(i * cols + j)];
  };
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t m = begin; m < i; ++m) {
      for (int64_t j = i; j < end; ++j)
        at(i, j) -= at(m, i) * at(m, j);
    }
    const float pivot = std::sqrt(std::max(at(i, i), floor));
    at(i, i) = pivot;
    for (int64_t j = i + 1; j < end; ++j)
      at(i, j) /= pivot;
  }
}

/// The same rows for the columns behind `end`.
void factor_panel(std::vector<float>& h, int64_t cols, int64_t begin, int64_t end,
                  ThreadPool& pool) {
  pool.parallel_for(cols - end, kLanes, [&](int64_t first, int64_t last, int) {
    for (int64_t i = begin; i < end; ++i) {
      float* row = h.data() + i * cols + end;
      for (int64_t m = begin; m < i; ++m) {
        const float* above = h.data() + m * cols + end;
        const float factor = h[static_cast<size_t>(m * cols + i)];
        for (int64_t j = first; j < last; ++j)
          row[j] -= factor * above[j];
      }
      const float pivot = h[static_cast<size_t>(i * cols + i)];
      for (int64_t j = first; j < last; ++j)
        row[j] /= pivot;
    }
  });
}

/// The upper triangle of H becomes R with H = RᵀR.
void factor_upper(std::vector<float>& h, int64_t cols, float floor, ThreadPool& pool) {
  Panels panels(kDepth, cols);
  for (int64_t begin = 0; begin < cols; begin += kDepth) {
    const int64_t end = std::min(begin + kDepth, cols);
    factor_block(h, cols, begin, end, floor);
    if (end == cols) break;
    factor_panel(h, cols, begin, end, pool);
    panels.pack(h.data() + begin * cols, cols, end - begin, end, cols, pool);
    add_products(panels, end - begin, end, cols, -1.0f, h, [&](int64_t) { return cols; }, pool);
  }
}

}  // namespace

std::vector<float> mean_squares(Activations x, ThreadPool& pool) {
  std::vector<float> means(static_cast<size_t>(x.cols));
  pool.parallel_for(x.cols, kLanes, [&](int64_t begin, int64_t end, int) {
    std::vector<double> sums(static_cast<size_t>(end - begin));
    for (int64_t t = 0; t < x.rows; ++t) {
      const float* row = x.row(t) + begin;
      for (size_t k = 0; k < sums.size(); ++k)
        sums[k] += double{row[k]} * row[k];
    }
    for (size_t k = 0; k < sums.size() && x.rows > 0; ++k) {
      means[static_cast<size_t>(begin) + k] =
          static_cast<float>(sums[k] / static_cast<double>(x.rows));
    }
  });
  return means;
}

Result<InputFactor> InputFactor::create(Activations x, CorrectionReach reach, float damping,
                                        ThreadPool& pool) {
  const int64_t cols = x.cols;
  std::vector<float> h = sum_of_products(x, reach, pool);
  TETRAD_TRY(damp(h, cols, damping, x.rows));
  // What the damping alone adds, or nearly: no pivot can be less but for rounding.
  double smallest = h[0];
  for (int64_t i = 0; i < cols; ++i)
    smallest = std::min<double>(smallest, h[static_cast<size_t>(i * cols + i)]);
  const auto floor = static_cast<float>(smallest * 0.01);

  InputFactor result(cols, reach);
  const bool whole = reach == CorrectionReach::matrix;
  if (whole) {
    factor_upper(h, cols, floor, pool);
  } else {
    for (int64_t begin = 0; begin < cols; begin += kLanes)
      factor_block(h, cols, begin, begin + kLanes, floor);
  }
  result.pivots_.resize(static_cast<size_t>(cols));
  result.factors_.resize(static_cast<size_t>(whole ? cols * cols : cols * kLanes));
  pool.parallel_for(cols / kLanes, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t group = begin; group < end; ++group) {
      const int64_t first = group * kLanes;
      for (int64_t i = first; i < first + kLanes; ++i) {
        const float* row = h.data() + i * cols;
        result.pivots_[static_cast<size_t>(i)] = row[i] * row[i];
        for (int64_t k = i + 1; k < (whole ? cols : first + kLanes); ++k) {
          const int64_t panel_row = whole ? group * cols + k : k;
          result.factors_[static_cast<size_t>(panel_row * kLanes + i - first)] = row[k] / row[i];
        }
      }
    }
  });
  return result;
}

}  // namespace tetrad
