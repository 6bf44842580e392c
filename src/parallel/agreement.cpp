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

/// For a message: up to the first zero.
std::string_view text_of(const Record& record) {
  return {record.data(), static_cast<size_t>(std::ranges::find(record, '\0') - record.begin())};
}

}  // namespace

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
                  text_of(all[i]), rank, text_of(theirs));
    }
  }
  return {};
}

}  // namespace tetrad::parallel
