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

/// A tensor without its bytes.
struct TensorHeader {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;

  /// What it takes in a file, for a shape without overflow.
  uint64_t bytes() const;
};

/// Where everything goes in one safetensors file, known before any of its bytes: so a file can be
/// written piece by piece, in any order. The format allows no gaps, so the widest elements come
/// first, which keeps every tensor aligned to its own element size.
class SafetensorsLayout {
 public:
  /// Refuses a name that stands twice or cannot be a tensor's, and sizes that overflow.
  static Result<SafetensorsLayout> make(std::vector<TensorHeader> tensors);

  /// What the file begins with.
  const std::string& start() const { return start_; }
  /// Where in the file the data of a tensor begins, by its index in what make() got.
  uint64_t offset_of(size_t tensor) const { return offsets_[tensor]; }
  uint64_t file_bytes() const { return file_bytes_; }

 private:
  std::string start_;
  std::vector<uint64_t> offsets_;
  uint64_t file_bytes_ = 0;
};

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
