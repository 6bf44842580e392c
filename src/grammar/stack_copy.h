#pragma once

#include <unordered_map>

#include "grammar/closure.h"
#include "grammar/stack_store.h"

namespace tetrad::grammar {

/// Copies stacks from one store of a grammar into another.
class StackCopy {
 public:
  StackCopy(const StackStore& from, StackStore& to) : from_(from), to_(to) {}

  /// The same stacks in the other store.
  Stacks exact(const Stacks& stacks) { return copy_all(stacks, 0); }

  /// Stacks from which the same texts of up to `horizon` bytes lead on: counts that are out of
  /// their sight are replaced, so that a string that is long yet and one that is longer are one.
  Stacks alike(const Stacks& stacks, int64_t horizon) { return copy_all(stacks, horizon); }

 private:
  Stacks copy_all(const Stacks& stacks, int64_t horizon);
  StackId copy(StackId stack, int64_t horizon);
  Frame translated(const Frame& frame, int64_t horizon);

  const StackStore& from_;
  StackStore& to_;
  std::unordered_map<StackId, StackId> copies_;
  std::vector<StackId> path_;
};

}  // namespace tetrad::grammar
