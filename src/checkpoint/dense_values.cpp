#include "checkpoint/dense_values.h"

#include <cstring>

namespace tetrad {
namespace {

/// Reads elements of the stored type `T`, which need not be aligned.
template <class T, class Convert>
std::vector<float> convert_all(std::span<const std::byte> bytes, Convert convert) {
  std::vector<float> values(bytes.size() / sizeof(T));
  for (size_t i = 0; i < values.size(); ++i) {
    T element;
    std::memcpy(&element, bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = convert(element);
  }
  return values;
}

}  // namespace

Result<std::vector<float>> dense_values(const TensorView& tensor) {
  switch (tensor.dtype) {
    case DType::f32:
      return convert_all<float>(tensor.bytes, [](float value) { return value; });
    case DType::f16:
      return convert_all<uint16_t>(tensor.bytes, f16_to_float);
    case DType::bf16:
      return convert_all<uint16_t>(tensor.bytes, bf16_to_float);
    default:
      return fail(ErrorCode::unsupported, "dtype {} where F32, F16 or BF16 is needed",
                  dtype_name(tensor.dtype));
  }
}

}  // namespace tetrad
