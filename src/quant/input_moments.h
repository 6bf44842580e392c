#pragma once

// Second moments of what goes into a weight matrix, and their triangular factor: what quantizing
// one weight costs, and how the weights that are still to be rounded can make up for it.

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/kernels.h"

namespace tetrad {

/// Mean over the rows of x[t, k]², [x.cols]; zeros where there are no rows.
std::vector<float> mean_squares(Activations x, ThreadPool& pool);

/// How far a correction reaches.
enum class CorrectionReach : uint8_t {
  group,   // the 16 input channels of one scale
  matrix,  // all input channels
};

/// H = LDLᵀ of the damped second moments H = Σ_t x[t] x[t]ᵀ + λI, L unit lower triangular
/// (with reach `group` only the 16 x 16 blocks on the diagonal of H count). For the error e = w - ŵ
/// of a row of weights
///   eᵀHe = Σ_i pivots[i] · (e_i + Σ_{k > i} L[k, i] e_k)²,
/// so whoever rounds columns from the last to the first may let each column i make up for the
/// errors of those behind it, and pays pivots[i] times the square of what is left. (GPTQ, Frantar
/// et al. 2022, is the same in another order.)
class InputFactor {
 public:
  /// x: [T, cols], cols a multiple of 16; `damping`: λ over the mean of the diagonal of H. The
  /// result depends neither on the number of threads nor on the instruction set. Error: activations
  /// that are not finite.
  static Result<InputFactor> create(Activations x, CorrectionReach reach, float damping,
                                    ThreadPool& pool);

  int64_t cols() const { return cols_; }
  CorrectionReach reach() const { return reach_; }
  /// [16]: pivots of the columns of a group.
  const float* pivots(int64_t group) const { return pivots_.data() + group * 16; }
  /// Row k of the columns of a group, [16], and the rows that follow it: L[k …, 16·group …]. With
  /// reach `group` there are those of the group's own columns only.
  const float* factors(int64_t group, int64_t k) const {
    return reach_ == CorrectionReach::matrix ? factors_.data() + (group * cols_ + k) * 16
                                             : factors_.data() + k * 16;
  }

 private:
  InputFactor(int64_t cols, CorrectionReach reach) : cols_(cols), reach_(reach) {}

  int64_t cols_;
  CorrectionReach reach_;
  std::vector<float> pivots_;   // [cols]
  std::vector<float> factors_;  // [cols / 16, cols, 16], or [cols, 16] with reach `group`
};

}  // namespace tetrad
