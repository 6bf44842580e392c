#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/checked_math.h"
#include "base/json.h"
#include "base/pending_file.h"
#include "checkpoint/safetensors.h"

namespace tetrad {
namespace {

/// The data starts at a multiple of a cache line; JSON allows the blanks that takes.
constexpr size_t kDataAlignment = 64;

Result<void> check_tensor(const TensorToWrite& tensor) {
  if (tensor.name.empty() || tensor.name == "__metadata__") {
    return fail(ErrorCode::invalid_argument, "\"{}\" cannot be the name of a tensor", tensor.name);
  }
  std::optional<uint64_t> bytes = checked_num_elements(tensor.shape);
  if (bytes) bytes = checked_mul(*bytes, dtype_size(tensor.dtype));
  if (!bytes || *bytes != tensor.bytes.size()) {
    return fail(ErrorCode::invalid_argument, "tensor \"{}\": {} [{}] does not take {} bytes",
                tensor.name, dtype_name(tensor.dtype), fmt::join(tensor.shape, ", "),
                tensor.bytes.size());
  }
  return {};
}

/// The order in the file: the format allows no gaps, so widest elements come first to keep every
/// tensor aligned to its own element size.
Result<std::vector<const TensorToWrite*>> file_order(std::span<const TensorToWrite> tensors) {
  std::vector<const TensorToWrite*> order;
  std::set<std::string_view> names;
  for (const TensorToWrite& tensor : tensors) {
    TETRAD_TRY(check_tensor(tensor));
    if (!names.insert(tensor.name).second) {
      return fail(ErrorCode::invalid_argument, "tensor \"{}\" is to be written twice", tensor.name);
    }
    order.push_back(&tensor);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return dtype_size(a->dtype) > dtype_size(b->dtype);
  });
  return order;
}

/// The 8-byte length and the JSON, padded with blanks.
std::string make_header(std::span<const TensorToWrite* const> order) {
  json::object header;
  header["__metadata__"] = json::object{{"format", "pt"}};
  uint64_t offset = 0;
  for (const TensorToWrite* tensor : order) {
    json::object& entry = header[tensor->name].emplace_object();
    entry["dtype"] = dtype_name(tensor->dtype);
    entry["shape"] = json::array(tensor->shape.begin(), tensor->shape.end());
    entry["data_offsets"] = json::array{offset, offset + tensor->bytes.size()};
    offset += tensor->bytes.size();
  }
  std::string text = to_json_text(header);
  const size_t unpadded = sizeof(uint64_t) + text.size();
  text.append((kDataAlignment - unpadded % kDataAlignment) % kDataAlignment, ' ');
  const uint64_t length = text.size();
  std::string file_start(sizeof length, '\0');
  std::memcpy(file_start.data(), &length, sizeof length);
  return file_start + text;
}

}  // namespace

Result<void> write_safetensors(const std::filesystem::path& path,
                               std::span<const TensorToWrite> tensors) {
  TETRAD_ASSIGN(const std::vector<const TensorToWrite*> order, file_order(tensors));
  const std::string header = make_header(order);
  TETRAD_ASSIGN(PendingFile file, PendingFile::create(path));
  TETRAD_TRY(file.write(header.data(), header.size()));
  for (const TensorToWrite* tensor : order)
    TETRAD_TRY(file.write(tensor->bytes.data(), tensor->bytes.size()));
  return file.commit();
}

}  // namespace tetrad
