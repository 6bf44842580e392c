#pragma once

// What the tests of the kernels share: implementations by name, and random matrices in every
// format.

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "kernels/kernels.h"

namespace tetrad::testing_kernels {

inline constexpr WeightFormat kEveryFormat[] = {
    WeightFormat::f32,       WeightFormat::f16,   WeightFormat::bf16, WeightFormat::mxfp4_16,
    WeightFormat::fp8_block, WeightFormat::fp8,   WeightFormat::int4, WeightFormat::int8,
    WeightFormat::codebook4, WeightFormat::mxfp4, WeightFormat::nvfp4};

/// Columns of a matrix of the format must be a multiple of this.
inline int64_t column_grain(WeightFormat format) {
  switch (format) {
    case WeightFormat::mxfp4_16:
    case WeightFormat::codebook4:
    case WeightFormat::mxfp4:
    case WeightFormat::nvfp4:
      return 16;
    default:
      return 1;
  }
}

/// One of the layouts that the format may have.
inline WeightMatrix empty_matrix(WeightFormat format, int64_t rows, int64_t cols) {
  WeightMatrix matrix{.format = format, .rows = rows, .cols = cols};
  switch (format) {
    case WeightFormat::codebook4:
      matrix.scale_layout = {.dtype = DType::bf16, .cols_per_scale = 16, .transposed = true};
      matrix.codes_transposed = true;
      matrix.nibble_order = NibbleOrder::high_first;
      break;
    case WeightFormat::fp8:
    case WeightFormat::int4:
    case WeightFormat::int8:
      matrix.scale_layout = {.dtype = DType::f32, .cols_per_scale = cols};
      break;
    case WeightFormat::mxfp4:
      matrix.scale_layout = {.dtype = DType::f8_e8m0, .cols_per_scale = cols % 32 == 0 ? 32 : 16};
      break;
    case WeightFormat::nvfp4:
      matrix.scale_layout = {.dtype = DType::f8_e4m3, .cols_per_scale = 16};
      matrix.global_scale = 300;
      matrix.divide_by_global_scale = true;
      break;
    default:
      break;
  }
  return matrix;
}

inline constexpr DType kEveryCacheType[] = {DType::f32, DType::bf16, DType::f8_e4m3};

/// "avx2_int8" are those of "avx2" with 8-bit activations.
inline ActivationType activations_of(const std::string& name) {
  return name.ends_with("_int8") ? ActivationType::int8 : ActivationType::f32;
}

/// Those that the activations of these kernels matter to.
inline std::vector<WeightFormat> formats_of(const std::string& name) {
  if (activations_of(name) == ActivationType::int8) return {WeightFormat::mxfp4_16};
  return {std::begin(kEveryFormat), std::end(kEveryFormat)};
}

/// "reference" or an instruction set, with "_int8" behind it or not; null where this machine lacks
/// it.
inline std::unique_ptr<Kernels> make_kernels(const std::string& name, int num_threads = 2) {
  const ActivationType activations = activations_of(name);
  const std::string isa = name.substr(0, name.find("_int8"));
  if (isa == "reference") return make_reference_kernels(activations);
  auto kernels = make_cpu_kernels(std::make_shared<ThreadPool>(num_threads), isa, activations);
  return kernels ? std::move(*kernels) : nullptr;
}

/// An activation matrix that owns its memory.
class Matrix {
 public:
  Matrix(int64_t rows, int64_t cols)
      : rows_(rows), cols_(cols), values_(static_cast<size_t>(rows * cols)) {}
  Matrix(int64_t rows, int64_t cols, std::mt19937& random, float deviation = 1.0f)
      : Matrix(rows, cols) {
    std::normal_distribution<float> normal(0.0f, deviation);
    for (float& value : values_)
      value = normal(random);
  }
  Matrix(int64_t rows, int64_t cols, std::vector<float> values)
      : rows_(rows), cols_(cols), values_(std::move(values)) {}

  Activations all() { return {values_.data(), rows_, cols_}; }
  Activations part(int64_t first, int64_t count) {
    return {values_.data() + first * cols_, count, cols_};
  }
  const std::vector<float>& values() const { return values_; }
  std::vector<float>& values() { return values_; }
  float at(int64_t row, int64_t col) const {
    return values_[static_cast<size_t>(row * cols_ + col)];
  }

 private:
  int64_t rows_, cols_;
  std::vector<float> values_;
};

/// A weight matrix that owns its memory, which starts at an odd address and ends with its last
/// byte, so that sanitizers see both.
class PackedMatrix {
 public:
  PackedMatrix(WeightFormat format, int64_t rows, int64_t cols, std::mt19937& random)
      : view_(empty_matrix(format, rows, cols)) {
    data_.resize(static_cast<size_t>(rows * view_.row_bytes() + 1));
    const DType scale = view_.layout_of_scales().dtype;
    scales_.resize(static_cast<size_t>(view_.num_scales()) * dtype_size(scale) + 1);
    fill(random);
    view_.data = data_.data() + 1;
    view_.scales = scales_.data() + 1;
  }

  const WeightMatrix& view() const { return view_; }
  WeightMatrix& view() { return view_; }
  std::byte* data() { return data_.data() + 1; }

 private:
  template <class T>
  static void put(std::vector<std::byte>& memory, size_t index, T value) {
    std::memcpy(memory.data() + 1 + index * sizeof value, &value, sizeof value);
  }

  void fill(std::mt19937& random) {
    std::normal_distribution<float> normal;
    const auto elements = static_cast<size_t>(view_.rows * view_.cols);
    switch (view_.format) {
      case WeightFormat::f32:
        for (size_t i = 0; i < elements; ++i)
          put(data_, i, normal(random));
        break;
      case WeightFormat::f16:
        for (size_t i = 0; i < elements; ++i)
          put(data_, i, float_to_f16(normal(random)));
        break;
      case WeightFormat::bf16:
        for (size_t i = 0; i < elements; ++i)
          put(data_, i, float_to_bf16(normal(random)));
        break;
      default:
        fill_codes(random);
        fill_scales(random);
    }
  }

  void fill_codes(std::mt19937& random) {
    std::uniform_int_distribution<int> byte(0, 255);
    const bool is_fp8 =
        view_.format == WeightFormat::fp8_block || view_.format == WeightFormat::fp8;
    for (size_t i = 0; i + 1 < data_.size(); ++i) {
      const int code = byte(random);
      const bool is_nan = is_fp8 && (code & 127) == 127;
      put(data_, i, static_cast<uint8_t>(is_nan ? code - 1 : code));
    }
  }

  void fill_scales(std::mt19937& random) {
    std::normal_distribution<float> normal(0.0f, 0.01f);
    for (size_t i = 0; i < static_cast<size_t>(view_.num_scales()); ++i) {
      switch (view_.layout_of_scales().dtype) {
        case DType::f16:
          put(scales_, i, mxfp4_scale(random));
          break;
        case DType::bf16:
          put(scales_, i, float_to_bf16(normal(random)));
          break;
        case DType::f8_e8m0:
          put(scales_, i, static_cast<uint8_t>(115 + random() % 10));
          break;
        case DType::f8_e4m3:
          put(scales_, i, static_cast<uint8_t>(random() % 0x7F));
          break;
        default:
          put(scales_, i, normal(random));
      }
    }
  }

  /// Normal, negative, subnormal and zero ones.
  static uint16_t mxfp4_scale(std::mt19937& random) {
    const uint32_t bits = random();
    switch (bits % 8) {
      case 0:
        return 0;
      case 1:
        return static_cast<uint16_t>(bits >> 16 & 0x83FFu);
      default:
        return float_to_f16(std::normal_distribution<float>(0.0f, 0.01f)(random));
    }
  }

  std::vector<std::byte> data_, scales_;
  WeightMatrix view_;
};

/// The experts of one layer; expert 1 has a format of its own, as protected experts do.
class RandomExperts {
 public:
  RandomExperts(WeightFormat format, WeightFormat format_of_expert_1, int64_t num_experts,
                int64_t hidden_size, int64_t intermediate_size, std::mt19937& random) {
    for (int64_t e = 0; e < num_experts; ++e) {
      const WeightFormat own = e == 1 ? format_of_expert_1 : format;
      add(w1_, PackedMatrix(own, intermediate_size, hidden_size, random));
      add(w3_, PackedMatrix(own, intermediate_size, hidden_size, random));
      add(w2_, PackedMatrix(own, hidden_size, intermediate_size, random));
    }
  }
  ExpertWeights view() const { return {.w1 = w1_, .w3 = w3_, .w2 = w2_}; }

 private:
  /// Moving a PackedMatrix leaves its bytes, and so the view of them, in place.
  void add(std::vector<WeightMatrix>& views, PackedMatrix matrix) {
    views.push_back(matrix.view());
    matrices_.push_back(std::move(matrix));
  }
  std::vector<PackedMatrix> matrices_;
  std::vector<WeightMatrix> w1_, w3_, w2_;
};

/// Distinct experts for each token, with weights that sum to 1.
struct Choices {
  std::vector<int32_t> ids;
  std::vector<float> weights;
  int64_t top_k = 0;

  Routing routing() { return {ids, weights, top_k}; }
  Routing routing(int64_t first, int64_t count) {
    const auto begin = static_cast<size_t>(first * top_k);
    const auto size = static_cast<size_t>(count * top_k);
    return {std::span(ids).subspan(begin, size), std::span(weights).subspan(begin, size), top_k};
  }
};

inline Choices random_choices(int64_t num_tokens, int64_t num_experts, int64_t top_k,
                              std::mt19937& random) {
  Choices choices{.top_k = top_k};
  std::vector<int32_t> experts(static_cast<size_t>(num_experts));
  std::iota(experts.begin(), experts.end(), 0);
  std::uniform_real_distribution<float> share(0.1f, 1.0f);
  for (int64_t t = 0; t < num_tokens; ++t) {
    std::shuffle(experts.begin(), experts.end(), random);
    std::vector<float> shares(static_cast<size_t>(top_k));
    for (float& value : shares)
      value = share(random);
    const float sum = std::accumulate(shares.begin(), shares.end(), 0.0f);
    for (size_t i = 0; i < shares.size(); ++i) {
      choices.ids.push_back(experts[i]);
      choices.weights.push_back(shares[i] / sum);
    }
  }
  return choices;
}

/// A paged cache of one layer and the batch that reads it. Blocks are dealt in random order, and
/// what was not written is NaN.
class PagedCache {
 public:
  PagedCache(DType dtype, int64_t num_kv_heads, int64_t head_dim, std::mt19937& random)
      : memory_(static_cast<size_t>(2 * kNumBlocks * num_kv_heads * kKvBlockSize * head_dim) *
                    dtype_size(dtype),
                std::byte{0xFF}),
        layer_{.dtype = dtype,
               .k_scale = dtype == DType::f8_e4m3 ? 0.037f : 1.0f,
               .v_scale = dtype == DType::f8_e4m3 ? 0.21f : 1.0f,
               .k = memory_.data(),
               .v = memory_.data() + memory_.size() / 2,
               .num_blocks = kNumBlocks,
               .num_kv_heads = num_kv_heads,
               .head_dim = head_dim},
        free_(kNumBlocks) {
    std::iota(free_.begin(), free_.end(), 0);
    std::shuffle(free_.begin(), free_.end(), random);
  }

  void add_sequence(int64_t context_len, int64_t query_len) {
    std::vector<int32_t>& table = tables_.emplace_back();
    for (int64_t token = 0; token < context_len + query_len; token += kKvBlockSize) {
      table.push_back(free_.back());
      free_.pop_back();
    }
    for (int64_t token = 0; token < context_len + query_len; ++token) {
      slots_.push_back(table[static_cast<size_t>(token / kKvBlockSize)] * kKvBlockSize +
                       token % kKvBlockSize);
    }
    sequences_.push_back({.query_start = num_rows_,
                          .query_len = query_len,
                          .context_len = context_len,
                          .block_table = table});
    num_rows_ += query_len;
  }

  /// Gives every token of every sequence, context included, random keys and values.
  void write_all(Kernels& kernels, std::mt19937& random) {
    const auto count = static_cast<int64_t>(slots_.size());
    Matrix k(count, layer_.num_kv_heads * layer_.head_dim, random);
    Matrix v(count, layer_.num_kv_heads * layer_.head_dim, random);
    kernels.write_kv(k.all(), v.all(), slots_, layer_);
  }

  Batch batch() const { return {.sequences = sequences_}; }
  const KvCacheLayer& layer() const { return layer_; }
  int64_t num_rows() const { return num_rows_; }
  const std::vector<std::byte>& memory() const { return memory_; }

 private:
  static constexpr int64_t kNumBlocks = 40;
  std::vector<std::byte> memory_;
  KvCacheLayer layer_;
  std::vector<int32_t> free_;
  std::deque<std::vector<int32_t>> tables_;  // spans lead into them
  std::vector<int64_t> slots_;
  std::vector<SequenceSlice> sequences_;
  int64_t num_rows_ = 0;
};

inline std::string format_name(WeightFormat format) {
  return std::string(weight_format_name(format));
}

}  // namespace tetrad::testing_kernels
