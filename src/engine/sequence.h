#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "engine/ngram_drafts.h"
#include "engine/output_text.h"
#include "engine/prefix_index.h"
#include "engine/request.h"

namespace tetrad {

/// A request on its way through the engine. The engine's thread alone touches it (CONTRACT.md).
struct Sequence {
  /// request.sampling has its max_tokens and seed by now.
  Sequence(RequestId request_id, GenerationRequest request, std::shared_ptr<EventSink> event_sink,
           const Tokenizer& tokenizer, Seconds now)
      : id(request_id),
        sampling(std::move(request.sampling)),
        priority(request.priority),
        cache_salt(std::move(request.cache_salt)),
        num_prompt_tokens(static_cast<int64_t>(request.prompt_ids.size())),
        tokens(std::move(request.prompt_ids)),
        sink(std::move(event_sink)),
        constraint(request.constraint ? request.constraint->start() : nullptr),
        output(tokenizer, sampling.stop, sampling.skip_special_tokens,
               sampling.include_stop_str_in_output),
        arrived(now) {}

  const RequestId id;  // ascends in order of arrival
  const SamplingParams sampling;
  const int64_t priority;
  const std::string cache_salt;
  const int64_t num_prompt_tokens;
  std::vector<TokenId> tokens;  // prompt, then what was generated
  const std::shared_ptr<EventSink> sink;
  const std::unique_ptr<ConstraintState> constraint;  // null: none
  OutputText output;

  // The scheduler's.
  int64_t num_computed_tokens = 0;  // tokens whose keys and values are in the cache
  std::vector<int32_t> block_table;
  std::vector<PrefixHash>
      prefix_hashes;               // [0]: no tokens, [i]: the first i blocks; as far as needed
  int64_t num_indexed_blocks = 0;  // of block_table, from its beginning: known to the index
  int64_t num_once_computed = 0;   // the most that num_computed_tokens has been
  int64_t num_overtakes = 0;
  bool paused = false;  // its client lags: nothing is computed for it
  DraftGovernor drafts;

  // What is told in the first event and at the end.
  int64_t num_cached_tokens = 0;
  std::vector<TokenLogprobs> prompt_logprobs;
  int64_t num_preemptions = 0;
  Seconds arrived;
  std::optional<Seconds> admitted;  // for the first time
  std::optional<Seconds> first_token;
  std::optional<Seconds> last_token;

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_generated() const { return num_tokens() - num_prompt_tokens; }
  /// 1 when decoding, what is left of the prompt before.
  int64_t num_uncomputed() const { return num_tokens() - num_computed_tokens; }
};

}  // namespace tetrad
