#include "model/rank_logits.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/integer_math.h"
#include "kernels/vocabulary_scan.h"
#include "model/top_tokens.h"

namespace tetrad {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
/// Of the sum of weights, as a part of it: the exponents that bring parts together are up to 700
/// and rounded three times. What the parts themselves may be wrong by is the sampler's own
/// tolerance.
constexpr double kMergeError = 0x1p-40;

bool has_list(const LogitsUse& use) {
  return !use.is_whole && use.temperature > 0;
}

}  // namespace

Result<void> RankLogits::exchange(Activations part, std::span<const LogitsUse> uses) {
  part_ = part;
  are_all_here_ = false;
  const auto num_rows = static_cast<size_t>(part.rows);
  if (std::ranges::all_of(uses, &LogitsUse::is_whole)) {
    TETRAD_ASSIGN(all_rows_, group_.gather_logits(part));
    are_all_here_ = true;
    return {};
  }
  whole_.resize(num_rows);
  std::vector<size_t> whole_rows;
  for (size_t row = 0; row < num_rows; ++row) {
    whole_[row].clear();
    if (uses[row].is_whole) whole_rows.push_back(row);
  }
  TETRAD_TRY(exchange_summaries(uses));
  return gather_rows(whole_rows);
}

void RankLogits::look_at(std::span<const float> part, const LogitsUse& use, PartOfRow& found) {
  found = {.largest = -kInfinity,
           .best = std::numeric_limits<uint32_t>::max(),
           .num_tokens = static_cast<uint32_t>(part.size())};
  if (part.empty()) return;
  const auto count = std::ssize(part);
  const auto num_blocks = static_cast<size_t>(ceil_div(int64_t{count}, kVocabularyBlock));
  block_maxima_.resize(num_blocks);
  const VocabularyScan& scan = vocabulary_scan();
  found.is_finite = scan.block_maxima(part.data(), count, block_maxima_.data()) ? 1 : 0;
  if (found.is_finite == 0) return;
  found.largest = *std::ranges::max_element(block_maxima_);
  const auto best = std::ranges::find(part, found.largest) - part.begin();
  found.best = static_cast<uint32_t>(group_.share().vocabulary.begin + best);
  if (use.temperature == 0) return;
  block_sums_.resize(num_blocks);
  scan.block_exp_sums(part.data(), count, found.largest, 1 / double{use.temperature},
                      block_sums_.data());
  for (const double sum : block_sums_)
    found.weights += sum;
}

Result<void> RankLogits::exchange_summaries(std::span<const LogitsUse> uses) {
  const auto num_ranks = static_cast<size_t>(ranks_.size());
  const size_t num_rows = uses.size();
  sent_parts_.assign(num_rows, {});
  num_lists_ = static_cast<size_t>(std::ranges::count_if(uses, has_list));
  // Of a part with fewer tokens some behind all others.
  sent_lists_.assign(num_lists_ * kLikelyOfPart, {.logit = -kInfinity, .id = 0});
  size_t list = 0;
  for (size_t row = 0; row < num_rows; ++row) {
    const auto part = part_.row_span(static_cast<int64_t>(row));
    if (!uses[row].is_whole) look_at(part, uses[row], sent_parts_[row]);
    if (!has_list(uses[row])) continue;
    find_top_tokens(part, group_.share().vocabulary.begin,
                    std::span(sent_lists_).subspan(list++ * kLikelyOfPart, kLikelyOfPart));
  }
  parts_.resize(num_ranks * num_rows);
  TETRAD_TRY(parallel::all_gather_values<PartOfRow>(ranks_, sent_parts_, parts_));
  lists_.resize(num_ranks * sent_lists_.size());
  if (num_lists_ > 0)
    TETRAD_TRY(parallel::all_gather_values<LikelyToken>(ranks_, sent_lists_, lists_));
  summaries_.assign(num_rows, {});
  likely_.resize(num_rows);
  list = 0;
  for (size_t row = 0; row < num_rows; ++row) {
    if (uses[row].is_whole) continue;
    merge_row(row, uses[row], list);
    if (has_list(uses[row])) ++list;
  }
  return {};
}

void RankLogits::merge_row(size_t row, const LogitsUse& use, size_t list) {
  const auto num_ranks = static_cast<size_t>(ranks_.size());
  const size_t num_rows = summaries_.size();
  RowSummary& merged = summaries_[row];
  merged = {.vocab_size = vocab_size_, .largest = -kInfinity, .bound = kInfinity};
  for (size_t rank = 0; rank < num_ranks; ++rank) {
    const PartOfRow& part = parts_[rank * num_rows + row];
    merged.is_finite = merged.is_finite && part.is_finite != 0;
    // Ids ascend with the ranks: of equals the first stays.
    if (part.num_tokens == 0 || part.largest <= merged.largest) continue;
    merged.largest = part.largest;
    merged.best = static_cast<int32_t>(part.best);
  }
  if (!merged.is_finite || use.temperature == 0) return;

  // Of a part that told of but some of its tokens all that are likelier than the last are there.
  float missing = -kInfinity;
  std::vector<LikelyToken>& likely = likely_[row];
  likely.clear();
  for (size_t rank = 0; rank < num_ranks; ++rank) {
    const PartOfRow& part = parts_[rank * num_rows + row];
    if (part.num_tokens == 0) continue;
    merged.weights +=
        part.weights * std::exp((double{part.largest} - merged.largest) / double{use.temperature});
    const auto told = std::span(lists_).subspan((rank * num_lists_ + list) * kLikelyOfPart,
                                                std::min<size_t>(kLikelyOfPart, part.num_tokens));
    likely.insert(likely.end(), told.begin(), told.end());
    if (part.num_tokens > kLikelyOfPart) missing = std::max(missing, told.back().logit);
  }
  merged.weights_error = merged.weights * kMergeError;
  merged.bound = std::nextafter(missing, kInfinity);
  std::erase_if(likely, [&](const LikelyToken& token) { return token.logit < merged.bound; });
  std::ranges::sort(likely, {}, &LikelyToken::id);
  merged.likely = likely;
}

Result<void> RankLogits::gather_rows(std::span<const size_t> rows) {
  if (rows.empty()) return {};
  const auto num_rows = static_cast<int64_t>(rows.size());
  compact_.resize(static_cast<size_t>(num_rows * part_.cols));
  const Activations compact{compact_.data(), num_rows, part_.cols};
  for (int64_t i = 0; i < num_rows; ++i) {
    const auto row = static_cast<int64_t>(rows[static_cast<size_t>(i)]);
    std::ranges::copy(part_.row_span(row), compact.row_span(i).begin());
  }
  TETRAD_ASSIGN(const Activations whole, group_.gather_logits(compact));
  for (int64_t i = 0; i < num_rows; ++i) {
    const std::span<const float> row = whole.row_span(i);
    whole_[rows[static_cast<size_t>(i)]].assign(row.begin(), row.end());
  }
  return {};
}

Result<void> RankLogits::gather_row(int64_t row) {
  const auto at = static_cast<size_t>(row);
  if (row < 0 || row >= part_.rows || are_all_here_)
    return fail(ErrorCode::corrupt_data, "row {} of {} is asked for", row, part_.rows);
  return gather_rows({&at, 1});
}

std::span<const float> RankLogits::row(int64_t row) const {
  if (are_all_here_) return all_rows_.row_span(row);
  return whole_[static_cast<size_t>(row)];
}

}  // namespace tetrad
