#include "quant/quantize_journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "base/mapped_file.h"
#include "base/pending_file.h"
#include "base/system_error.h"
#include "base/write_error.h"

namespace tetrad {
namespace {

constexpr size_t kLargestJournal = size_t{1} << 30;

/// Sums as hexadecimal text: parsing a JSON number may cost its last bit.
json::array loss_values(const QuantizationLoss& loss) {
  return {loss.groups,
          loss.negative_scales,
          loss.subnormal_scales,
          loss.zero_scales,
          loss.clipped_scales,
          fmt::format("{:a}", loss.energy),
          fmt::format("{:a}", loss.squared_error)};
}

std::optional<double> read_sum(const json::value& value) {
  if (!value.is_string()) return std::nullopt;
  const std::string text(value.get_string());
  char* end = nullptr;
  const double sum = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0') return std::nullopt;
  return sum;
}

std::optional<QuantizationLoss> read_loss(const json::value& value) {
  constexpr size_t kValues = 7;
  constexpr size_t kCounts = 5;
  const json::array* values = value.if_array();
  if (values == nullptr || values->size() != kValues) return std::nullopt;
  std::array<int64_t, kCounts> counts{};
  for (size_t i = 0; i < kCounts; ++i) {
    const int64_t* count = (*values)[i].if_int64();
    if (count == nullptr) return std::nullopt;
    counts[i] = *count;
  }
  const auto energy = read_sum((*values)[kCounts]);
  const auto squared_error = read_sum((*values)[kCounts + 1]);
  if (!energy || !squared_error) return std::nullopt;
  return QuantizationLoss{.groups = counts[0],
                          .negative_scales = counts[1],
                          .subnormal_scales = counts[2],
                          .zero_scales = counts[3],
                          .clipped_scales = counts[4],
                          .energy = *energy,
                          .squared_error = *squared_error};
}

/// The text of a member, nothing where it is missing or something else.
std::optional<std::string> text_member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return std::string(value->get_string());
}

std::optional<int64_t> whole_member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_int64()) return std::nullopt;
  return value->get_int64();
}

/// The identity in the first line of a journal, which is read by whole lines.
Result<json::value> read_identity(const std::filesystem::path& path, std::string_view text) {
  const size_t end = text.find('\n');
  if (end != std::string_view::npos) {
    auto line = parse_json(text.substr(0, end));
    if (line && line->is_object()) {
      if (json::value* run = line->get_object().if_contains("run")) return std::move(*run);
    }
  }
  return fail(ErrorCode::corrupt_data,
              "{} does not begin with the run that it belongs to, so it cannot be continued; "
              "--overwrite starts anew",
              path.string());
}

}  // namespace

Result<QuantizeJournal> QuantizeJournal::create(const std::filesystem::path& folder,
                                                const json::object& identity) {
  TETRAD_TRY(write_text_file(folder / kJournalFileName,
                             to_json_text(json::object{{"run", identity}}) + "\n"));
  return open(folder);
}

Result<json::value> QuantizeJournal::identity_in(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kJournalFileName;
  TETRAD_ASSIGN(const std::string text, read_text_file(path, kLargestJournal));
  return read_identity(path, text);
}

Result<QuantizeJournal> QuantizeJournal::open(const std::filesystem::path& folder) {
  QuantizeJournal journal(folder / kJournalFileName);
  const std::filesystem::path& path = journal.path_;
  TETRAD_ASSIGN(const std::string text, read_text_file(path, kLargestJournal));
  TETRAD_ASSIGN(journal.identity_, read_identity(path, text));
  size_t whole = text.find('\n') + 1;
  for (;;) {
    const size_t end = text.find('\n', whole);
    if (end == std::string::npos) break;
    if (!journal.read_line(std::string_view(text).substr(whole, end - whole))) break;
    whole = end + 1;
  }
  journal.fd_ = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
  if (journal.fd_ < 0) return system_error(path, "open");
  if (::ftruncate(journal.fd_, static_cast<off_t>(whole)) != 0) {
    return system_error(path, "cut off the end of");
  }
  return journal;
}

QuantizeJournal::QuantizeJournal(QuantizeJournal&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      identity_(std::move(other.identity_)),
      modules_(std::move(other.modules_)),
      files_(std::move(other.files_)) {}

QuantizeJournal::~QuantizeJournal() {
  if (fd_ >= 0) ::close(fd_);
}

bool QuantizeJournal::read_line(std::string_view line) {
  const auto value = parse_json(line);
  if (!value || !value->is_object()) return false;
  const json::object& object = value->get_object();
  const auto shard = whole_member(object, "shard");
  auto digest = text_member(object, "digest");
  if (!shard || !digest) return false;
  if (const auto bytes = whole_member(object, "bytes")) {
    files_[*shard] = {static_cast<uint64_t>(*bytes), std::move(*digest)};
    return true;
  }
  auto name = text_member(object, "module");
  const auto at = whole_member(object, "at");
  std::vector<FinishedModule>& modules = modules_[*shard];
  if (!name || !at || *at < 0 || std::cmp_greater(*at, modules.size())) return false;
  FinishedModule module{std::move(*name), std::move(*digest), {}};
  if (const json::value* loss = object.if_contains("loss")) {
    module.loss = read_loss(*loss);
    if (!module.loss) return false;
  }
  modules.resize(static_cast<size_t>(*at));
  modules.push_back(std::move(module));
  return true;
}

const std::vector<FinishedModule>& QuantizeJournal::modules_of(int64_t shard) const {
  static const std::vector<FinishedModule> kNone;
  const auto found = modules_.find(shard);
  return found == modules_.end() ? kNone : found->second;
}

const FinishedFile* QuantizeJournal::file_of(int64_t shard) const {
  const auto found = files_.find(shard);
  return found == files_.end() ? nullptr : &found->second;
}

Result<void> QuantizeJournal::add(int64_t shard, FinishedModule module) {
  std::vector<FinishedModule>& modules = modules_[shard];
  json::object line = {{"shard", shard},
                       {"at", static_cast<int64_t>(modules.size())},
                       {"module", module.name},
                       {"digest", module.digest}};
  if (module.loss) line["loss"] = loss_values(*module.loss);
  modules.push_back(std::move(module));
  return append(line);
}

Result<void> QuantizeJournal::add(int64_t shard, FinishedFile file) {
  const json::object line = {
      {"shard", shard}, {"bytes", static_cast<int64_t>(file.bytes)}, {"digest", file.digest}};
  files_[shard] = std::move(file);
  return append(line);
}

void QuantizeJournal::forget_modules(int64_t shard, size_t keep) {
  modules_[shard].resize(keep);
}

Result<void> QuantizeJournal::append(const json::object& line) {
  const std::string text = to_json_text(line) + "\n";
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t written = ::write(fd_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return write_error(path_, "write", rest.size());
    rest.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

Result<void> QuantizeJournal::flush() {
  if (::fsync(fd_) != 0) return write_error(path_, "flush", 0);
  return {};
}

Result<void> QuantizeJournal::remove() {
  if (::unlink(path_.c_str()) != 0) return system_error(path_, "remove");
  return flush_folder(path_.parent_path());
}

}  // namespace tetrad
