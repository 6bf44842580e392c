#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/output_text.h"
#include "engine/request.h"

namespace tetrad {

/// A request on its way through the engine. The engine's thread alone touches it (CONTRACT.md).
struct Sequence {
  Sequence(RequestId request_id, GenerationRequest request, std::shared_ptr<EventSink> event_sink,
           const Tokenizer& tokenizer)
      : id(request_id),
        sampling(std::move(request.sampling)),
        num_prompt_tokens(static_cast<int64_t>(request.prompt_ids.size())),
        tokens(std::move(request.prompt_ids)),
        sink(std::move(event_sink)),
        output(tokenizer, sampling.stop, sampling.skip_special_tokens) {}

  RequestId id;
  SamplingParams sampling;  // max_tokens and seed are filled in by the time it is queued
  int64_t num_prompt_tokens;
  std::vector<TokenId> tokens;  // prompt, then what was generated
  std::shared_ptr<EventSink> sink;
  OutputText output;

  int64_t num_computed_tokens = 0;   // tokens whose keys and values are in the cache
  std::vector<int32_t> block_table;  // taken at admission, for the longest the sequence can become

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_generated() const { return num_tokens() - num_prompt_tokens; }
  /// 1 when decoding, what is left of the prompt before.
  int64_t num_uncomputed() const { return num_tokens() - num_computed_tokens; }
};

}  // namespace tetrad
