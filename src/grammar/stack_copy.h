#pragma once

#include <unordered_map>

#include "grammar/stack_store.h"

namespace tetrad::grammar {

/// Copies stacks from one store of a grammar into another.
class StackCopy {
 public:
  StackCopy(const StackStore& from, StackStore& to) : from_(from), to_(to) {}

  /// The same stack in the other store.
  StackId exact(StackId stack) { return copy(stack, 0); }

  /// A stack from which the same texts of up to `horizon` bytes lead on: counts that are out of
  /// their sight are replaced, so that a string that is long yet and one that is longer are one.
  StackId alike(StackId stack, int64_t horizon) { return copy(stack, horizon); }

 private:
  StackId copy(StackId stack, int64_t horizon);
  Frame translated(const Frame& frame, int64_t horizon);

  const StackStore& from_;
  StackStore& to_;
  std::unordered_map<StackId, StackId> copies_;
  std::vector<StackId> path_;
};

}  // namespace tetrad::grammar
