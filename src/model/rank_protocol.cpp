#include "model/rank_protocol.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

namespace tetrad {
namespace {

/// A number of blocks, or why there are none, as ranks tell each other.
struct BlocksRecord {
  int64_t num_blocks = 0;
  int64_t has_failed = 0;
  int64_t code = 0;
  std::array<char, 64> param{};
  std::array<char, 488> message{};
};

/// Cut where it does not fit; the rest is zeros, one at least.
template <size_t N>
void put_text(std::array<char, N>& to, const std::string& text) {
  std::copy_n(text.begin(), std::min(text.size(), N - 1), to.begin());
}
template <size_t N>
std::string text_in(const std::array<char, N>& from) {
  return {from.begin(), std::ranges::find(from, '\0')};
}

BlocksRecord record_of(const Result<int64_t>& blocks) {
  BlocksRecord record;
  if (blocks) {
    record.num_blocks = *blocks;
    return record;
  }
  record.has_failed = 1;
  record.code = static_cast<int64_t>(blocks.error().code);
  put_text(record.param, blocks.error().param);
  put_text(record.message, blocks.error().message);
  return record;
}

Error error_in(const BlocksRecord& record, size_t rank) {
  constexpr auto kLastCode = static_cast<int64_t>(ErrorCode::internal);
  const int64_t code = std::clamp<int64_t>(record.code, 0, kLastCode);
  Error error{.code = static_cast<ErrorCode>(code),
              .message = text_in(record.message),
              .param = text_in(record.param)};
  return rank == 0 ? error : std::move(error).in(fmt::format("rank {}", rank));
}

/// The least of what the ranks bring.
Result<Result<int64_t>> agree_on_blocks(parallel::Communicator& ranks,
                                        const Result<int64_t>& mine) {
  const BlocksRecord record = record_of(mine);
  std::vector<BlocksRecord> all(static_cast<size_t>(ranks.size()));
  TETRAD_TRY(parallel::all_gather_values<BlocksRecord>(ranks, {&record, 1}, all));
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].has_failed != 0)
      return Result<int64_t>(tl::unexpected(error_in(all[rank], rank)));
  }
  return Result<int64_t>(std::ranges::min(all, {}, &BlocksRecord::num_blocks).num_blocks);
}

}  // namespace

Result<Result<int64_t>> make_agreed_cache(parallel::Communicator& ranks,
                                          const Result<int64_t>& room,
                                          const std::function<Result<void>(int64_t blocks)>& make) {
  TETRAD_ASSIGN(const Result<int64_t> agreed, agree_on_blocks(ranks, room));
  if (!agreed) return agreed;
  const Result<void> made = make(*agreed);
  return agree_on_blocks(ranks, made ? agreed : tl::unexpected(made.error()));
}

}  // namespace tetrad
