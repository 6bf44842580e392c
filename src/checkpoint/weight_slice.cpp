#include "checkpoint/weight_slice.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>
#include <utility>

#include "base/integer_math.h"

namespace tetrad {
namespace {

struct CutRange {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
};

/// Columns whose codes stand in the same byte or word.
int64_t columns_of_unit(WeightFormat format) {
  switch (format) {
    case WeightFormat::f32:
    case WeightFormat::f16:
    case WeightFormat::bf16:
    case WeightFormat::fp8_block:
    case WeightFormat::fp8:
      return 1;
    case WeightFormat::codebook4:
    case WeightFormat::mxfp4:
    case WeightFormat::nvfp4:
      return 2;
    case WeightFormat::mxfp4_16:
      return kMxfp4GroupSize;
    case WeightFormat::int4:
    case WeightFormat::int8:
      return 32 / integer_bits(format);
  }
  return 1;
}

/// Why a matrix does not stand row by row; null: it does.
const char* obstacle_to_cutting(const WeightMatrix& matrix) {
  if (matrix.zero_points != nullptr) return "zero points";
  if (matrix.group_of_column != nullptr) return "columns in another order";
  if (matrix.codes_transposed) return "transposed codes";
  if (matrix.has_own_layout() && matrix.scale_layout.transposed) return "transposed scales";
  return nullptr;
}

Result<void> check_cut(const WeightMatrix& matrix, CutRange rows, CutRange cols) {
  if (rows.begin < 0 || rows.end > matrix.rows || rows.size() < 0 || cols.begin < 0 ||
      cols.end > matrix.cols || cols.size() < 0) {
    return fail(ErrorCode::internal, "rows {} to {} and columns {} to {} of a matrix of {} by {}",
                rows.begin, rows.end, cols.begin, cols.end, matrix.rows, matrix.cols);
  }
  if (const char* obstacle = obstacle_to_cutting(matrix); obstacle != nullptr) {
    return fail(ErrorCode::unsupported,
                "a matrix of {} with {} cannot be shared between ranks; quantize the model with "
                "tetrad quantize, or use one rank",
                weight_format_name(matrix.format), obstacle);
  }
  const int64_t unit = columns_of_unit(matrix.format);
  if (cols.begin % unit != 0 || (cols.end % unit != 0 && cols.end != matrix.cols)) {
    return fail(ErrorCode::unsupported,
                "columns {} to {} of a matrix of {} are no whole groups of {}: use a size that "
                "divides them",
                cols.begin, cols.end, weight_format_name(matrix.format), unit);
  }
  return {};
}

/// `count` rows of `bytes` bytes, `stride` apart, one after the other.
const std::byte* copy_rows(const std::byte* first, int64_t count, int64_t bytes, int64_t stride,
                           SliceMemory& memory) {
  std::byte* const copy = memory.allocate(count * bytes);
  for (int64_t row = 0; row < count; ++row)
    std::memcpy(copy + row * bytes, first + row * stride, static_cast<size_t>(bytes));
  return copy;
}

/// The scales of a slice, and where they stand. A cut inside a block makes smaller blocks of all,
/// which have their block's scale.
void cut_scales(const WeightMatrix& whole, CutRange rows, CutRange cols, SliceMemory& memory,
                WeightMatrix& slice) {
  const ScaleLayout layout = whole.layout_of_scales();
  const auto scale_bytes = static_cast<int64_t>(dtype_size(layout.dtype));
  const int64_t groups = ceil_div(whole.cols, layout.cols_per_scale);
  ScaleLayout cut = layout;
  cut.rows_per_scale = std::gcd(rows.begin, layout.rows_per_scale);
  cut.cols_per_scale = std::gcd(cols.begin, layout.cols_per_scale);
  slice.scale_layout = whole.has_own_layout() ? cut : whole.scale_layout;
  const bool same_blocks =
      cut.rows_per_scale == layout.rows_per_scale && cut.cols_per_scale == layout.cols_per_scale;
  if (whole.format == WeightFormat::fp8_block && !same_blocks) {
    slice.format = WeightFormat::fp8;
    slice.scale_layout = cut;
  }
  if (same_blocks && slice.cols == whole.cols) {
    slice.scales = whole.scales + rows.begin / layout.rows_per_scale * groups * scale_bytes;
    return;
  }
  const int64_t scale_rows = ceil_div(slice.rows, cut.rows_per_scale);
  const int64_t scale_cols = ceil_div(slice.cols, cut.cols_per_scale);
  std::byte* next = memory.allocate(scale_rows * scale_cols * scale_bytes);
  slice.scales = next;
  for (int64_t i = 0; i < scale_rows; ++i) {
    const int64_t row = (rows.begin + i * cut.rows_per_scale) / layout.rows_per_scale;
    for (int64_t j = 0; j < scale_cols; ++j, next += scale_bytes) {
      const int64_t group = (cols.begin + j * cut.cols_per_scale) / layout.cols_per_scale;
      std::memcpy(next, whole.scales + (row * groups + group) * scale_bytes,
                  static_cast<size_t>(scale_bytes));
    }
  }
}

Result<WeightMatrix> cut_matrix(const WeightMatrix& whole, CutRange rows, CutRange cols,
                                SliceMemory& memory) {
  if (rows.size() == whole.rows && cols.size() == whole.cols) return whole;
  TETRAD_TRY(check_cut(whole, rows, cols));
  WeightMatrix slice = whole;
  slice.rows = rows.size();
  slice.cols = cols.size();
  const int64_t stride = whole.row_bytes();
  // What stands before the first column.
  WeightMatrix before = whole;
  before.cols = cols.begin;
  slice.data = whole.data + rows.begin * stride + before.row_bytes();
  if (slice.cols != whole.cols)
    slice.data = copy_rows(slice.data, slice.rows, slice.row_bytes(), stride, memory);
  if (!whole.is_dense()) cut_scales(whole, rows, cols, memory, slice);
  return slice;
}

}  // namespace

std::byte* SliceMemory::allocate(int64_t bytes) {
  constexpr int64_t kAlignment = 64;  // of a cache line
  constexpr int64_t kChunkBytes = int64_t{64} << 20;
  const int64_t begin = ceil_div(used_of_last_, kAlignment) * kAlignment;
  if (chunks_.empty() || begin + bytes > chunks_.back().size()) {
    auto chunk = PageMemory::allocate(std::max(bytes, kChunkBytes));
    if (!chunk) throw std::bad_alloc();
    chunks_.push_back(std::move(*chunk));
    used_of_last_ = 0;
    return allocate(bytes);
  }
  used_of_last_ = begin + bytes;
  bytes_ += bytes;
  return chunks_.back().data() + begin;
}

Result<WeightMatrix> slice_rows(const WeightMatrix& matrix, int64_t begin, int64_t end,
                                SliceMemory& memory) {
  return cut_matrix(matrix, {begin, end}, {0, matrix.cols}, memory);
}

Result<WeightMatrix> slice_columns(const WeightMatrix& matrix, int64_t begin, int64_t end,
                                   SliceMemory& memory) {
  return cut_matrix(matrix, {0, matrix.rows}, {begin, end}, memory);
}

}  // namespace tetrad
