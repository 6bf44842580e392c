#include "parallel/agreement.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/digest.h"

namespace tetrad::parallel {
namespace {

using Record = std::array<char, kLongestValue>;

Record record_of(const std::string& value) {
  Record record{};
  const std::string text = value.size() <= record.size() ? value : digest_of(value);
  std::ranges::copy(text, record.begin());
  return record;
}

/// Up to the first zero.
template <size_t N>
std::string_view text_in(const std::array<char, N>& from) {
  return {from.data(), static_cast<size_t>(std::ranges::find(from, '\0') - from.begin())};
}

/// How a rank fared, as ranks tell each other.
struct OutcomeRecord {
  int64_t has_failed = 0;
  int64_t code = 0;
  std::array<char, 64> param{};
  std::array<char, 944> message{};

  bool operator==(const OutcomeRecord&) const = default;
};

/// Cut where it does not fit; the rest is zeros, one at least.
template <size_t N>
void put_text(std::array<char, N>& to, const std::string& text) {
  std::copy_n(text.begin(), std::min(text.size(), N - 1), to.begin());
}

OutcomeRecord record_of(const Result<void>& result) {
  OutcomeRecord record;
  if (result) return record;
  record.has_failed = 1;
  record.code = static_cast<int64_t>(result.error().code);
  put_text(record.param, result.error().param);
  put_text(record.message, result.error().message);
  return record;
}

Error error_in(const OutcomeRecord& record) {
  constexpr auto kLastCode = static_cast<int64_t>(ErrorCode::internal);
  return {.code = static_cast<ErrorCode>(std::clamp<int64_t>(record.code, 0, kLastCode)),
          .message = std::string(text_in(record.message)),
          .param = std::string(text_in(record.param))};
}

}  // namespace

Result<Result<void>> gather_outcomes(Communicator& ranks, const Result<void>& mine) {
  const OutcomeRecord record = record_of(mine);
  std::vector<OutcomeRecord> all(static_cast<size_t>(ranks.size()));
  TETRAD_TRY(all_gather_values<OutcomeRecord>(ranks, {&record, 1}, all));
  const auto failed = std::ranges::find(all, 1, &OutcomeRecord::has_failed);
  if (failed == all.end()) return Result<void>();
  Error error = error_in(*failed);
  const bool is_everybodys = std::ranges::count(all, *failed) == std::ssize(all);
  if (!is_everybodys) error = std::move(error).in(fmt::format("rank {}", failed - all.begin()));
  return Result<void>(tl::unexpected(std::move(error)));
}

Result<void> agree(Communicator& ranks, std::span<const AgreedValue> values) {
  std::vector<Record> mine;
  mine.reserve(values.size());
  for (const AgreedValue& agreed : values)
    mine.push_back(record_of(agreed.value));
  std::vector<Record> all(values.size() * static_cast<size_t>(ranks.size()));
  TETRAD_TRY(all_gather_values<Record>(ranks, mine, all));
  for (size_t i = 0; i < values.size(); ++i) {
    for (size_t rank = 1; rank < static_cast<size_t>(ranks.size()); ++rank) {
      const Record& theirs = all[rank * values.size() + i];
      if (theirs == all[i]) continue;
      return fail(ErrorCode::invalid_argument,
                  "the ranks do not agree on {}: rank 0 has {} and rank {} has {}", values[i].name,
                  text_in(all[i]), rank, text_in(theirs));
    }
  }
  return {};
}

}  // namespace tetrad::parallel
