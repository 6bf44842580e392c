#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "grammar/closure.h"
#include "grammar/grammar.h"

namespace tetrad::grammar {

/// Follows one text through a grammar, byte by byte.
class Matcher {
 public:
  /// The grammar must outlive it.
  explicit Matcher(const Grammar& grammar);

  /// False: nothing that goes on like this matches; the matcher stays where it is.
  bool accept(std::string_view bytes);
  bool accept_special(TokenId id);

  /// Whether the text may end here.
  bool can_end() const;
  /// The fewest bytes, added tokens counted as one, that bring the text to its end.
  int64_t min_bytes() const { return grammar::min_bytes(store_, stacks_); }
  /// Frames of the deepest stack.
  int32_t depth() const;

  const Stacks& stacks() const { return stacks_; }
  const StackStore& store() const { return store_; }

 private:
  bool move_to(Stacks stacks);
  void forget_the_past();

  StackStore store_;
  Stacks stacks_;
};

}  // namespace tetrad::grammar
