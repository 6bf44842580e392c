#pragma once

// What a model says to a prompt, by one rank or by many, to be compared.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/mapped_file.h"
#include "model/minimax_m2.h"
#include "model/sequence_runner.h"

namespace tetrad::parallel_for_tests {

inline const std::filesystem::path kSourceFolder = TETRAD_SOURCE_DIR;
/// In the repository.
inline const std::filesystem::path kPackedModel = kSourceFolder / "models/tetrad-demo-mxfp4_16";
/// What it was made of, which is not.
inline const std::filesystem::path kDenseModel =
    kSourceFolder.parent_path() / "shared/models/demo-bf16";

inline constexpr int64_t kPromptTokens = 48;
inline constexpr int64_t kGreedyTokens = 24;

struct Answer {
  std::vector<float> logits;    // of every token of the prompt
  std::vector<int32_t> greedy;  // the continuation
  /// Of the prompt's last token: the likeliest, by forward_top().
  std::vector<int32_t> top_ids;
  std::vector<float> top_logits;
};

inline std::vector<int32_t> prompt_of_tests() {
  const json::value file =
      parse_json(read_text_file(kSourceFolder / "tests/golden/prompt_ids.json").value()).value();
  std::vector<int32_t> ids;
  for (const json::value& prompt : file.as_array()) {
    for (const int32_t id : json::value_to<std::vector<int32_t>>(prompt.at("ids")))
      ids.push_back(id);
  }
  ids.resize(kPromptTokens);
  return ids;
}

/// The prompt in one batch, over a cache of its own.
inline Result<void> ask_for_top(MiniMaxM2& model, const KvCacheFormat& format,
                                std::span<const int32_t> ids, int64_t count, Answer& answer) {
  TETRAD_ASSIGN(const KvCache cache,
                KvCache::create(model.local_config(), format.dtype,
                                kv_blocks_for(static_cast<int64_t>(ids.size())), format.scales));
  std::vector<int32_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), 0);
  const std::vector<int64_t> slots(positions.begin(), positions.end());
  std::vector<int32_t> blocks(static_cast<size_t>(cache.num_blocks()));
  std::iota(blocks.begin(), blocks.end(), 0);
  const SequenceSlice slice{.query_len = static_cast<int64_t>(ids.size()), .block_table = blocks};
  const std::vector<int32_t> last = {positions.back()};
  const Batch batch{.token_ids = ids,
                    .positions = positions,
                    .slot_mapping = slots,
                    .sequences = {&slice, 1},
                    .logits_rows = last};
  TETRAD_ASSIGN(const std::span<const LikelyToken> top, model.forward_top(batch, cache, count));
  for (const LikelyToken& token : top) {
    answer.top_ids.push_back(static_cast<int32_t>(token.id));
    answer.top_logits.push_back(token.logit);
  }
  return {};
}

/// The prompt at once, then token by token.
inline Result<Answer> answer_of(MiniMaxM2& model, const KvCacheFormat& format) {
  const std::vector<int32_t> ids = prompt_of_tests();
  Answer answer;
  TETRAD_ASSIGN(SequenceRunner runner,
                SequenceRunner::create(model, format, kPromptTokens + kGreedyTokens));
  TETRAD_ASSIGN(Activations logits, runner.append(ids, SequenceRunner::Logits::every_token));
  answer.logits.assign(logits.data, logits.data + logits.rows * logits.cols);
  while (true) {
    const std::span<const float> row = logits.row_span(logits.rows - 1);
    answer.greedy.push_back(
        static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin()));
    if (std::ssize(answer.greedy) == kGreedyTokens) break;
    TETRAD_ASSIGN(logits, runner.append(std::span(answer.greedy).last(1),
                                        SequenceRunner::Logits::last_token));
  }
  TETRAD_TRY(ask_for_top(model, format, ids, 40, answer));
  return answer;
}

/// The logits of the prompt in pieces of 1, 2, 3, … tokens.
inline Result<Answer> answer_in_pieces(MiniMaxM2& model, const KvCacheFormat& format) {
  const std::vector<int32_t> ids = prompt_of_tests();
  Answer answer;
  TETRAD_ASSIGN(SequenceRunner runner, SequenceRunner::create(model, format, kPromptTokens));
  std::span<const int32_t> left = ids;
  for (size_t piece = 1; !left.empty(); ++piece) {
    const std::span<const int32_t> next = left.first(std::min(piece, left.size()));
    TETRAD_ASSIGN(const Activations logits,
                  runner.append(next, SequenceRunner::Logits::every_token));
    answer.logits.insert(answer.logits.end(), logits.data, logits.data + logits.rows * logits.cols);
    left = left.subspan(next.size());
  }
  return answer;
}

/// The largest difference of a logit; infinite where one is no number.
inline float largest_difference(const Answer& a, const Answer& b) {
  if (a.logits.size() != b.logits.size()) return INFINITY;
  float largest = 0;
  for (size_t i = 0; i < a.logits.size(); ++i) {
    const float difference = std::abs(a.logits[i] - b.logits[i]);
    if (!(difference <= largest)) largest = std::isnan(difference) ? INFINITY : difference;
  }
  return largest;
}

}  // namespace tetrad::parallel_for_tests
