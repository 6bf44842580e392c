#pragma once

// Holds the answers of a MiniMax-M2 model to a grammar: from where the thinking ends, or inside
// tool calls.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "grammar/mask_cache.h"
#include "text/token_constraint.h"
#include "text/tokenizer.h"

namespace tetrad::grammar {

/// The tokens that divide an answer; kNoToken where a vocabulary does not have them.
struct AnswerTags {
  static constexpr TokenId kNoToken = -1;

  TokenId think_end = kNoToken;    // </think>
  TokenId calls_begin = kNoToken;  // <minimax:tool_call>
  TokenId calls_end = kNoToken;    // </minimax:tool_call>
  std::vector<TokenId> end;        // that end an answer
  /// Tokens that thinking may have before a form: not those that would leave it by another door.
  std::shared_ptr<const TokenSet> thoughts;

  static AnswerTags of(const Tokenizer& tokenizer, std::vector<TokenId> eos_token_ids);
};

struct AnswerRules {
  AnswerTags tags;
  /// The prompt ended inside a think block.
  bool starts_in_reasoning = false;
  /// So many tokens of thinking, then </think> is the only one allowed.
  std::optional<int64_t> thinking_token_budget;
  /// What follows the thinking, up to the end of the answer; null: anything.
  std::shared_ptr<MaskCache> body;
  /// What follows a <minimax:tool_call> where `body` is null, up to and with its
  /// </minimax:tool_call>; null: anything.
  std::shared_ptr<MaskCache> calls;
};

/// Thinking is free, but for its length: of an answer that has a `body` it leaves what the shortest
/// body takes, and a quarter of all tokens up to 256. An answer that has the room for it comes to
/// its end within its max_tokens.
/// The tokenizer must outlive the constraint and its states.
std::shared_ptr<const TokenConstraint> constrain_answer(const Tokenizer& tokenizer,
                                                        AnswerRules rules);

}  // namespace tetrad::grammar
