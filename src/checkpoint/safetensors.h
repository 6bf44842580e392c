#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/error.h"
#include "base/mapped_file.h"

namespace tetrad {

/// One tensor as stored: bytes point into the mapped file.
struct TensorView {
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

using TensorMap = std::map<std::string, TensorView, std::less<>>;

/// Parses the header of one safetensors file held in memory. Never trusts a declared size over the
/// real length: header length, offsets, shape products, gaps, overlaps and trailing bytes are all
/// checked with overflow-safe arithmetic, and errors name the tensor and the offset.
Result<TensorMap> parse_safetensors(std::span<const std::byte> file);

struct TensorToWrite {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

/// Writes one safetensors file (write to a temporary name, fsync, rename).
Result<void> write_safetensors(const std::filesystem::path& path,
                               std::span<const TensorToWrite> tensors);

}  // namespace tetrad
