#pragma once

#include <cstdint>
#include <memory>

#include "base/error.h"
#include "grammar/mask_cache.h"
#include "grammar/matcher.h"
#include "text/tokenizer.h"

namespace tetrad::grammar {

/// Follows one text through a grammar, token by token. One thread at a time.
class TokenMatcher {
 public:
  /// The tokenizer must outlive it.
  TokenMatcher(std::shared_ptr<MaskCache> cache, const Tokenizer& tokenizer);

  /// The tokens that may come next. When no more than `num_tokens_left` may come, and the end of
  /// the text has to fit, only those that leave room for it: every byte is a token, if need be.
  /// Where it does not fit any more, the room is no object. Empty where the text has to end.
  const TokenSet& allowed(int64_t num_tokens_left);
  /// A token that was allowed; others are an error that leaves the matcher where it is.
  Result<void> accept(TokenId id);

  bool can_end() const { return matcher_.can_end(); }
  /// At least as many as the tokens that end the text.
  int64_t min_tokens() const { return matcher_.min_bytes(); }

 private:
  void collect_shortest();

  std::shared_ptr<MaskCache> cache_;
  const Tokenizer& tokenizer_;
  Matcher matcher_;
  std::shared_ptr<const TokenMask> mask_;
  TokenSet shortest_;
};

}  // namespace tetrad::grammar
