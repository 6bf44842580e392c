#pragma once

#include <cstdint>
#include <memory>

#include "base/error.h"
#include "text/token_id.h"
#include "text/token_set.h"

namespace tetrad {

/// Where one answer stands in what it is constrained to. One thread at a time.
class ConstraintState {
 public:
  virtual ~ConstraintState() = default;

  /// The tokens that may come next; null: all of them. Valid until the next call of either
  /// function. `num_tokens_left`: how many the answer may still have, this one included, so that a
  /// constraint can see to it that the answer comes to its end in time. An empty set and an error
  /// both end the answer with an error.
  virtual Result<const TokenSet*> allowed(int64_t num_tokens_left) = 0;

  /// The token that was chosen: one that was allowed.
  virtual void accept(TokenId id) = 0;
};

/// What the tokens of an answer must keep to. Immutable and shared: the answers to one request
/// start from the same one.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;
  virtual std::unique_ptr<ConstraintState> start() const = 0;
};

}  // namespace tetrad
