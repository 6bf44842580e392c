#pragma once

// What a run of the quantizer has done so far, kept beside what it writes: a stopped run goes on
// from it.

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "quant/encode_matrix.h"

namespace tetrad {

inline constexpr const char* kJournalFileName = "tetrad-quantize.jsonl";

struct FinishedModule {
  std::string name;
  std::string digest;  // of its tensors' bytes, in their order
  /// Of a module that was encoded.
  std::optional<QuantizationLoss> loss;
};

struct FinishedFile {
  uint64_t bytes = 0;
  std::string digest;  // of the whole file
};

/// A file of JSON lines: the identity of the run first, then one line for each finished module and
/// each finished shard. Lines are only appended. A crash may tear the last one, a power cut more of
/// them, or the bytes that they speak of: reading ends at the first line that is not whole, and
/// whoever believes a line checks its digest.
class QuantizeJournal {
 public:
  /// Replaces whatever journal the folder has.
  static Result<QuantizeJournal> create(const std::filesystem::path& folder,
                                        const json::object& identity);
  /// Reads the journal of the folder and cuts off what is torn. Errors: a first line that does not
  /// say which run it is (corrupt_data).
  static Result<QuantizeJournal> open(const std::filesystem::path& folder);
  /// The identity alone; changes nothing.
  static Result<json::value> identity_in(const std::filesystem::path& folder);

  QuantizeJournal(QuantizeJournal&& other) noexcept;
  QuantizeJournal& operator=(QuantizeJournal&&) = delete;
  QuantizeJournal(const QuantizeJournal&) = delete;
  QuantizeJournal& operator=(const QuantizeJournal&) = delete;
  ~QuantizeJournal();

  const json::value& identity() const { return identity_; }
  /// The finished modules of a shard, in the order in which they were written. A module that was
  /// written again counts from there on.
  const std::vector<FinishedModule>& modules_of(int64_t shard) const;
  const FinishedFile* file_of(int64_t shard) const;

  Result<void> add(int64_t shard, FinishedModule module);
  Result<void> add(int64_t shard, FinishedFile file);
  /// Forgets the modules of a shard from the `keep`-th on: they do not stand in the file any more.
  void forget_modules(int64_t shard, size_t keep);
  Result<void> flush();
  Result<void> remove();

 private:
  explicit QuantizeJournal(std::filesystem::path path) : path_(std::move(path)) {}
  /// Whether the line was understood.
  bool read_line(std::string_view line);
  Result<void> append(const json::object& line);

  std::filesystem::path path_;
  int fd_ = -1;
  json::value identity_;
  std::map<int64_t, std::vector<FinishedModule>> modules_;
  std::map<int64_t, FinishedFile> files_;
};

}  // namespace tetrad
