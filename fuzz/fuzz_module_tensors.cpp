// A module with tensors of any name, dtype and shape. Whatever is taken for a matrix must be
// readable to its last row: each tensor is an allocation of its own, so that AddressSanitizer sees
// every byte beyond.

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <string_view>
#include <vector>

#include "base/checked_math.h"
#include "checkpoint/module_place.h"

namespace {

constexpr std::array<std::string_view, 17> kSuffixes = {"weight",
                                                        "weight_packed",
                                                        "qweight",
                                                        "weight_q",
                                                        "weight_fp16",
                                                        "weight_scale",
                                                        "scales",
                                                        "weight_scales",
                                                        "weight_scale_inv",
                                                        "weight_scale_2",
                                                        "weight_shape",
                                                        "weight_zero_point",
                                                        "weight_g_idx",
                                                        "weight_global_scale",
                                                        "input_scale",
                                                        "k_scale",
                                                        "bias"};

constexpr std::array<tetrad::DType, 8> kDTypes = {
    tetrad::DType::u8,  tetrad::DType::f16, tetrad::DType::bf16,    tetrad::DType::f32,
    tetrad::DType::i32, tetrad::DType::i64, tetrad::DType::f8_e4m3, tetrad::DType::f8_e8m0};

constexpr uint64_t kMaxTensorBytes = 1 << 16;

class Input {
 public:
  Input(const uint8_t* data, size_t size) : next_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  uint8_t byte() {
    if (left_ == 0) return 0;
    --left_;
    return *next_++;
  }

 private:
  const uint8_t* next_;
  size_t left_;
};

struct Module {
  std::deque<std::vector<std::byte>> memory;
  std::deque<tetrad::TensorView> views;
  tetrad::ModuleTensors tensors;

  void add(Input& input) {
    tetrad::TensorView view;
    const std::string_view suffix = kSuffixes[input.byte() % kSuffixes.size()];
    view.dtype = kDTypes[input.byte() % kDTypes.size()];
    for (int dims = input.byte() % 4; dims > 0; --dims)
      view.shape.push_back(input.byte());
    const auto count = tetrad::checked_num_elements(view.shape);
    if (!count || *count * tetrad::dtype_size(view.dtype) > kMaxTensorBytes) return;
    std::vector<std::byte>& bytes =
        memory.emplace_back(static_cast<size_t>(*count * tetrad::dtype_size(view.dtype)));
    // A few bytes of the input, repeated.
    std::array<std::byte, 4> pattern{};
    for (std::byte& element : pattern)
      element = std::byte{input.byte()};
    for (size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = pattern[i % pattern.size()];
    for (size_t i = 0; suffix == "weight_shape" && i < bytes.size(); ++i)
      bytes[i] = std::byte{input.byte()};
    view.bytes = bytes;
    tensors.insert_or_assign(suffix, &views.emplace_back(std::move(view)));
  }
};

void read_all(const tetrad::Result<tetrad::WeightMatrix>& matrix) {
  if (!matrix) return;
  std::vector<float> row(static_cast<size_t>(matrix->cols));
  for (int64_t i = 0; i < matrix->rows; ++i)
    tetrad::dequantize_row(*matrix, i, row);
  float sum = 0;
  for (int64_t i = 0; i < matrix->num_scales(); ++i)
    sum += tetrad::read_scale(matrix->layout_of_scales().dtype, matrix->scales, i);
  volatile float sink = sum + static_cast<float>(matrix->total_bytes());
  (void)sink;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const int64_t rows = 1 + input.byte();
  const int64_t cols = 1 + input.byte();
  const uint8_t flags = input.byte();
  const int64_t num_experts = 1 + input.byte() % 4;
  Module module;
  for (int i = 0; i < 6 && !input.empty(); ++i)
    module.add(input);
  tetrad::CodeMeaning meaning;
  if ((flags & 1) != 0) meaning.nibble_order = tetrad::NibbleOrder::high_first;
  if ((flags & 2) == 0) {
    read_all(tetrad::weight_matrix_of(module.tensors, rows, cols, meaning));
    return 0;
  }
  tetrad::ModulePlace place{.module = "experts.w13", .tensors = module.tensors, .expert = 0};
  if ((flags & 4) != 0) place.half = flags >> 3 & 1;
  for (int64_t expert = 0; expert <= num_experts; ++expert) {
    place.expert = expert;
    const auto slices = tetrad::ExpertSlices::cut(place, num_experts, rows);
    if (slices) read_all(tetrad::weight_matrix_of(slices->tensors(), rows, cols, meaning));
  }
  return 0;
}
