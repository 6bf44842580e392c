#include "model/rank_protocol.h"

#include <algorithm>
#include <vector>

#include "parallel/agreement.h"

namespace tetrad {

Result<Result<int64_t>> make_agreed_cache(parallel::Communicator& ranks,
                                          const Result<int64_t>& room,
                                          const std::function<Result<void>(int64_t blocks)>& make) {
  TETRAD_ASSIGN(const Result<void> have_room, parallel::gather_outcomes(ranks, room));
  if (!have_room) return Result<int64_t>(tl::unexpected(have_room.error()));
  std::vector<int64_t> blocks(static_cast<size_t>(ranks.size()));
  TETRAD_TRY(parallel::all_gather_values<int64_t>(ranks, {&*room, 1}, blocks));
  const int64_t least = std::ranges::min(blocks);
  TETRAD_ASSIGN(const Result<void> made, parallel::gather_outcomes(ranks, make(least)));
  if (!made) return Result<int64_t>(tl::unexpected(made.error()));
  return Result<int64_t>(least);
}

}  // namespace tetrad
