#include "collectives/agreement.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

namespace tetrad::collectives {
namespace {

/// A longer message is cut.
constexpr size_t kMessageBytes = 1000;

struct Verdict {
  bool is_ok = true;
  ErrorCode code = ErrorCode::internal;
  std::array<char, kMessageBytes> message{};
};

}  // namespace

Result<void> agree(parallel::Communicator& ranks, const Result<void>& mine) {
  Verdict verdict;
  if (!mine) {
    verdict.is_ok = false;
    verdict.code = mine.error().code;
    const std::string& message = mine.error().message;
    std::copy_n(message.begin(), std::min(message.size(), kMessageBytes - 1),
                verdict.message.begin());
  }
  std::vector<Verdict> all(static_cast<size_t>(ranks.size()));
  TETRAD_TRY(
      parallel::all_gather_values<Verdict>(ranks, std::span<const Verdict>(&verdict, 1), all));
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (!all[rank].is_ok)
      return fail(all[rank].code, "rank {}: {}", rank, all[rank].message.data());
  }
  return {};
}

}  // namespace tetrad::collectives
