#include "quant/run_identity.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "base/digest.h"
#include "base/system_error.h"

namespace tetrad {
namespace {

constexpr uint64_t kWholeUpTo = uint64_t{16} << 20;
constexpr uint64_t kEndBytes = uint64_t{1} << 20;
constexpr uint64_t kPieces = 256;
constexpr uint64_t kSamplePieceBytes = 4096;

/// A file open for reading, of which a digest takes some parts.
class SampledFile {
 public:
  static Result<SampledFile> open(const std::filesystem::path& path) {
    SampledFile file(path);
    file.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file.fd_ < 0) return system_error(path, "open");
    struct stat info{};
    if (::fstat(file.fd_, &info) != 0) return system_error(path, "read the size of");
    file.size_ = static_cast<uint64_t>(info.st_size);
    return file;
  }

  SampledFile(SampledFile&& other) noexcept
      : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}
  SampledFile& operator=(SampledFile&&) = delete;
  ~SampledFile() {
    if (fd_ >= 0) ::close(fd_);
  }

  uint64_t size() const { return size_; }

  Result<std::string> sample() {
    if (size_ <= kWholeUpTo) {
      TETRAD_TRY(add(0, size_));
      return digest_.finish();
    }
    TETRAD_TRY(add(0, kEndBytes));
    const uint64_t step = (size_ - 2 * kEndBytes) / kPieces;
    for (uint64_t i = 0; i < kPieces; ++i)
      TETRAD_TRY(add(kEndBytes + i * step, std::min(kSamplePieceBytes, step)));
    TETRAD_TRY(add(size_ - kEndBytes, kEndBytes));
    return digest_.finish();
  }

 private:
  explicit SampledFile(std::filesystem::path path) : path_(std::move(path)) {}

  Result<void> add(uint64_t offset, uint64_t size) {
    buffer_.resize(std::min(size, kEndBytes));
    while (size > 0) {
      const ssize_t got = ::pread(fd_, buffer_.data(), std::min<uint64_t>(size, buffer_.size()),
                                  static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return system_error(path_, "read");
      if (got == 0) return fail(ErrorCode::io, "{} shrinks while it is read", path_.string());
      digest_.add(std::span(buffer_).first(static_cast<size_t>(got)));
      offset += static_cast<uint64_t>(got);
      size -= static_cast<uint64_t>(got);
    }
    return {};
  }

  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_ = 0;
  Digest digest_;
  std::vector<std::byte> buffer_;
};

std::string child_path(std::string_view path, std::string_view key) {
  return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
}

std::string difference_at(const std::string& path, const json::value* before,
                          const json::value* now) {
  if (before == nullptr)
    return fmt::format("{} was not set and is {} now", path, to_json_text(*now));
  if (now == nullptr)
    return fmt::format("{} was {} and is not set now", path, to_json_text(*before));
  if (*before == *now) return "";
  if (!before->is_object() || !now->is_object()) {
    return fmt::format("{} was {} and is {} now", path, to_json_text(*before), to_json_text(*now));
  }
  const json::object& old_members = before->get_object();
  const json::object& new_members = now->get_object();
  for (const auto& [key, value] : old_members) {
    std::string found = difference_at(child_path(path, key), &value, new_members.if_contains(key));
    if (!found.empty()) return found;
  }
  for (const auto& [key, value] : new_members) {
    if (!old_members.contains(key)) return difference_at(child_path(path, key), nullptr, &value);
  }
  return "";
}

}  // namespace

Result<json::object> run_identity(const Checkpoint& source, const IdentityOptions& options) {
  json::object files;
  std::vector<std::string> names = source.shards();
  names.insert(names.begin(), "config.json");
  for (const std::string& name : names) {
    TETRAD_ASSIGN(SampledFile file, SampledFile::open(source.folder() / name));
    TETRAD_ASSIGN(const std::string sample, file.sample());
    files[name] = {{"bytes", file.size()}, {"sample", sample}};
  }
  return json::object{{"tetrad", TETRAD_VERSION},
                      {"source", std::move(files)},
                      {"options",
                       {{"format", target_format_name(options.format)},
                        {"max_shard_bytes", options.max_shard_bytes},
                        {"keep", json::array(options.keep.begin(), options.keep.end())},
                        {"encoder", options.encoder}}}};
}

std::string identity_difference(const json::value& before, const json::object& now) {
  // By way of text, as the other one came: a number may lose its last bit there.
  const auto read_back = parse_json(to_json_text(now));
  if (!read_back) return read_back.error().message;
  return difference_at("", &before, &*read_back);
}

}  // namespace tetrad
