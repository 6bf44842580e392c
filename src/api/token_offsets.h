#pragma once

#include <cstdint>

#include "text/tokenizer.h"

namespace tetrad::api {

/// Where in a text, counted in characters, its tokens begin. A token that begins inside of a
/// character counts as beginning with it.
class TokenOffsets {
 public:
  /// The tokenizer must outlive this.
  explicit TokenOffsets(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  /// The offset of the next token. `shown`: the token is part of the text.
  int64_t next(TokenId id, bool shown);

  const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  const Tokenizer* tokenizer_;
  int64_t num_begun_ = 0;  // characters
};

}  // namespace tetrad::api
