#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/checked_math.h"
#include "base/json.h"
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

tl::unexpected<Error> system_error(const std::filesystem::path& path, std::string_view action) {
  return fail(ErrorCode::io, "cannot {} {}: {}", action, path.string(), std::strerror(errno));
}

/// A new file beside its final name, which it takes in commit(); without one it is removed.
class PendingFile {
 public:
  static Result<PendingFile> create(const std::filesystem::path& path) {
    PendingFile file;
    file.path_ = path;
    file.temporary_ = path.string() + ".tmp";
    file.fd_ = ::open(file.temporary_.c_str(),
                      O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (file.fd_ < 0) return system_error(file.temporary_, "create");
    return file;
  }

  PendingFile(PendingFile&& other) noexcept
      : path_(std::move(other.path_)),
        temporary_(std::move(other.temporary_)),
        fd_(std::exchange(other.fd_, -1)) {}
  PendingFile& operator=(PendingFile&&) = delete;
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;
  ~PendingFile() {
    if (fd_ < 0) return;
    ::close(fd_);
    ::unlink(temporary_.c_str());
  }

  Result<void> write(const void* data, size_t size) {
    const char* next = static_cast<const char*>(data);
    while (size > 0) {
      const ssize_t written = ::write(fd_, next, size);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return system_error(temporary_, "write");
      next += written;
      size -= static_cast<size_t>(written);
    }
    return {};
  }

  Result<void> commit() {
    if (::fsync(fd_) != 0) return system_error(temporary_, "flush");
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
      return system_error(path_, "rename the finished file to");
    }
    ::close(std::exchange(fd_, -1));
    return flush_folder();
  }

 private:
  PendingFile() = default;

  /// Makes the new name survive a power cut.
  Result<void> flush_folder() const {
    const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : ".";
    const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return system_error(folder, "open");
    const bool flushed = ::fsync(fd) == 0;
    ::close(fd);
    if (!flushed) return system_error(folder, "flush");
    return {};
  }

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int fd_ = -1;
};

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
