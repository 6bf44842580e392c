#include "checkpoint/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>
#include <optional>
#include <utility>

#include "base/checked_math.h"
#include "base/json.h"

namespace tetrad {
namespace {

static_assert(std::endian::native == std::endian::little,
              "safetensors data is little-endian and is used where it lies");

constexpr uint64_t kLengthBytes = 8;
/// The limit of the reference implementation.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

/// Where a tensor lies, as byte offsets behind the header.
struct Extent {
  uint64_t begin = 0;
  uint64_t end = 0;
  std::string_view name;
};

tl::unexpected<Error> bad_tensor(std::string_view name, const std::string& problem) {
  return fail(ErrorCode::corrupt_data, "tensor \"{}\": {}", name, problem);
}

/// The header's JSON text, its length checked against the file.
Result<std::string_view> header_text(std::span<const std::byte> file) {
  if (file.size() < kLengthBytes) {
    return fail(ErrorCode::corrupt_data,
                "not a safetensors file: {} bytes, too short for the 8-byte header length",
                file.size());
  }
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  if (length > kMaxHeaderBytes) {
    return fail(ErrorCode::corrupt_data,
                "not a safetensors file: the header length at offset 0 is {}, more than the "
                "{} allowed",
                length, kMaxHeaderBytes);
  }
  if (length > file.size() - kLengthBytes) {
    return fail(ErrorCode::corrupt_data,
                "truncated: the header of {} bytes at offset 8 ends behind the file of {} bytes",
                length, file.size());
  }
  const auto* text = reinterpret_cast<const char*>(file.data() + kLengthBytes);
  if (length == 0 || text[0] != '{') {
    return fail(ErrorCode::corrupt_data,
                "not a safetensors file: the header at offset 8 does not begin with '{{'");
  }
  return std::string_view(text, static_cast<size_t>(length));
}

Result<void> check_metadata(const json::value& metadata) {
  if (!metadata.is_object()) {
    return fail(ErrorCode::corrupt_data, "\"__metadata__\" must be an object, not {}",
                json_kind_name(metadata));
  }
  for (const auto& [key, value] : metadata.get_object()) {
    if (value.is_string()) continue;
    return fail(ErrorCode::corrupt_data, "\"__metadata__\": \"{}\" must be a string, not {}",
                std::string_view(key), json_kind_name(value));
  }
  return {};
}

Result<DType> read_dtype(std::string_view name, const json::object& entry) {
  const json::value* found = entry.if_contains("dtype");
  if (found == nullptr || !found->is_string()) {
    return bad_tensor(name, "\"dtype\" must be a string");
  }
  const std::string_view spelled = found->get_string();
  const std::optional<DType> dtype = dtype_from_name(spelled);
  if (!dtype) {
    return fail(ErrorCode::unsupported, "tensor \"{}\": unknown dtype \"{}\"", name, spelled);
  }
  return *dtype;
}

/// A list of sizes or offsets: integers from 0 to 2^63 - 1.
Result<std::vector<int64_t>> read_sizes(std::string_view name, const json::object& entry,
                                        std::string_view key) {
  const json::value* found = entry.if_contains(key);
  if (found == nullptr || !found->is_array()) {
    return bad_tensor(name, fmt::format("\"{}\" must be an array", key));
  }
  std::vector<int64_t> sizes;
  for (const json::value& item : found->get_array()) {
    json::error_code ec;
    const auto size = item.is_double() ? -1 : item.to_number<int64_t>(ec);
    if (ec || size < 0) {
      return bad_tensor(name,
                        fmt::format("\"{}\" holds {}, which is no size", key, to_json_text(item)));
    }
    sizes.push_back(size);
  }
  return sizes;
}

/// Bytes the dtype and shape ask for, nothing when that does not fit 64 bits.
std::optional<uint64_t> tensor_bytes(DType dtype, std::span<const int64_t> shape) {
  const std::optional<uint64_t> elements = checked_num_elements(shape);
  if (!elements) return std::nullopt;
  return checked_mul(*elements, dtype_size(dtype));
}

Result<TensorView> read_tensor(std::string_view name, const json::value& value,
                               std::span<const std::byte> data, uint64_t data_offset) {
  if (!value.is_object()) {
    return bad_tensor(
        name, fmt::format("its header entry must be an object, not {}", json_kind_name(value)));
  }
  const json::object& entry = value.get_object();
  TensorView tensor;
  TETRAD_ASSIGN(tensor.dtype, read_dtype(name, entry));
  TETRAD_ASSIGN(tensor.shape, read_sizes(name, entry, "shape"));
  TETRAD_ASSIGN(const std::vector<int64_t> offsets, read_sizes(name, entry, "data_offsets"));
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    return bad_tensor(name, "\"data_offsets\" must be a begin and an end not before it");
  }
  const auto begin = static_cast<uint64_t>(offsets[0]);
  const auto end = static_cast<uint64_t>(offsets[1]);
  if (end > data.size()) {
    return bad_tensor(
        name, fmt::format("truncated: its data ends at {} behind the header, which ends at file "
                          "offset {}, but only {} bytes follow",
                          end, data_offset, data.size()));
  }
  const std::optional<uint64_t> expected = tensor_bytes(tensor.dtype, tensor.shape);
  if (!expected || *expected != end - begin) {
    return bad_tensor(
        name, fmt::format("{} [{}] takes {} bytes, but data_offsets give it {} (at file offset {})",
                          dtype_name(tensor.dtype), fmt::join(tensor.shape, ", "),
                          expected ? std::to_string(*expected) : "more than 2^64", end - begin,
                          data_offset + begin));
  }
  tensor.bytes = data.subspan(begin, end - begin);
  return tensor;
}

/// The tensors must tile the data: no byte used twice, none unused.
Result<void> check_tiling(std::vector<Extent> extents, uint64_t data_size, uint64_t data_offset) {
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t covered = 0;
  std::string_view previous = "the header";
  for (const Extent& extent : extents) {
    if (extent.begin < covered) {
      return bad_tensor(extent.name, fmt::format("overlaps \"{}\" at file offset {}", previous,
                                                 data_offset + extent.begin));
    }
    if (extent.begin > covered) {
      return bad_tensor(extent.name,
                        fmt::format("{} bytes of no tensor lie before it at file offset {}",
                                    extent.begin - covered, data_offset + covered));
    }
    covered = extent.end;
    previous = extent.name;
  }
  if (covered != data_size) {
    return fail(ErrorCode::corrupt_data, "{} bytes of no tensor follow the last one at offset {}",
                data_size - covered, data_offset + covered);
  }
  return {};
}

}  // namespace

Result<TensorMap> parse_safetensors(std::span<const std::byte> file) {
  TETRAD_ASSIGN(const std::string_view text, header_text(file));
  auto header = parse_json(text, JsonLimits{.max_depth = 8});
  if (!header) return tl::unexpected(std::move(header.error()).in("header"));
  const uint64_t data_offset = kLengthBytes + text.size();
  const std::span<const std::byte> data = file.subspan(data_offset);

  TensorMap tensors;
  std::vector<Extent> extents;
  for (const auto& [key, value] : header->as_object()) {
    const std::string_view name = key;
    if (name == "__metadata__") {
      TETRAD_TRY(check_metadata(value));
      continue;
    }
    TETRAD_ASSIGN(TensorView tensor, read_tensor(name, value, data, data_offset));
    const auto begin = static_cast<uint64_t>(tensor.bytes.data() - data.data());
    const auto placed = tensors.emplace(std::string(name), std::move(tensor)).first;
    extents.push_back({begin, begin + placed->second.bytes.size(), placed->first});
  }
  TETRAD_TRY(check_tiling(std::move(extents), data.size(), data_offset));
  return tensors;
}

}  // namespace tetrad
