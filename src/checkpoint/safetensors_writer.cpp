#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/checked_math.h"
#include "base/json.h"
#include "base/pending_file.h"
#include "checkpoint/safetensors.h"

namespace tetrad {
namespace {

/// The data starts at a multiple of a cache line; JSON allows the blanks that takes.
constexpr size_t kDataAlignment = 64;

std::optional<uint64_t> checked_tensor_bytes(const TensorHeader& tensor) {
  const std::optional<uint64_t> elements = checked_num_elements(tensor.shape);
  return elements ? checked_mul(*elements, dtype_size(tensor.dtype)) : std::nullopt;
}

Result<void> check_headers(std::span<const TensorHeader> tensors) {
  std::set<std::string_view> names;
  for (const TensorHeader& tensor : tensors) {
    if (tensor.name.empty() || tensor.name == "__metadata__") {
      return fail(ErrorCode::invalid_argument, "\"{}\" cannot be the name of a tensor",
                  tensor.name);
    }
    if (!names.insert(tensor.name).second) {
      return fail(ErrorCode::invalid_argument, "tensor \"{}\" is to be written twice", tensor.name);
    }
    if (!checked_tensor_bytes(tensor)) {
      return fail(ErrorCode::invalid_argument, "tensor \"{}\": {} [{}] has no size", tensor.name,
                  dtype_name(tensor.dtype), fmt::join(tensor.shape, ", "));
    }
  }
  return {};
}

/// The order in the file, by index.
std::vector<size_t> widest_first(std::span<const TensorHeader> tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return dtype_size(tensors[a].dtype) > dtype_size(tensors[b].dtype);
  });
  return order;
}

/// The 8-byte length and the JSON, padded with blanks.
std::string with_length(std::string text) {
  const size_t unpadded = sizeof(uint64_t) + text.size();
  text.append((kDataAlignment - unpadded % kDataAlignment) % kDataAlignment, ' ');
  const uint64_t length = text.size();
  std::string file_start(sizeof length, '\0');
  std::memcpy(file_start.data(), &length, sizeof length);
  return file_start + text;
}

}  // namespace

uint64_t TensorHeader::bytes() const {
  return checked_tensor_bytes(*this).value_or(0);
}

Result<SafetensorsLayout> SafetensorsLayout::make(std::vector<TensorHeader> tensors) {
  TETRAD_TRY(check_headers(tensors));
  SafetensorsLayout layout;
  layout.offsets_.resize(tensors.size());
  json::object header;
  header["__metadata__"] = json::object{{"format", "pt"}};
  uint64_t end = 0;
  for (const size_t index : widest_first(tensors)) {
    const TensorHeader& tensor = tensors[index];
    const uint64_t begin = std::exchange(end, end + tensor.bytes());
    json::object& entry = header[tensor.name].emplace_object();
    entry["dtype"] = dtype_name(tensor.dtype);
    entry["shape"] = json::array(tensor.shape.begin(), tensor.shape.end());
    entry["data_offsets"] = json::array{begin, end};
    layout.offsets_[index] = begin;
  }
  layout.start_ = with_length(to_json_text(header));
  for (uint64_t& offset : layout.offsets_)
    offset += layout.start_.size();
  layout.file_bytes_ = layout.start_.size() + end;
  return layout;
}

Result<void> write_safetensors(const std::filesystem::path& path,
                               std::span<const TensorToWrite> tensors) {
  std::vector<TensorHeader> headers;
  for (const TensorToWrite& tensor : tensors)
    headers.push_back({tensor.name, tensor.dtype, tensor.shape});
  TETRAD_ASSIGN(const SafetensorsLayout layout, SafetensorsLayout::make(headers));
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (headers[i].bytes() == tensors[i].bytes.size()) continue;
    return fail(ErrorCode::invalid_argument, "tensor \"{}\": {} [{}] does not take {} bytes",
                tensors[i].name, dtype_name(tensors[i].dtype), fmt::join(tensors[i].shape, ", "),
                tensors[i].bytes.size());
  }
  TETRAD_ASSIGN(PendingFile file, PendingFile::create(path));
  TETRAD_TRY(file.write(layout.start().data(), layout.start().size()));
  for (size_t i = 0; i < tensors.size(); ++i)
    TETRAD_TRY(file.write_at(layout.offset_of(i), tensors[i].bytes));
  return file.commit();
}

}  // namespace tetrad
