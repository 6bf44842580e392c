#include "grammar/stack_copy.h"

#include <algorithm>

namespace tetrad::grammar {
namespace {

/// A count that cannot be told from this one by the next `horizon` items. What counts is how many
/// items are missing yet and how many may still come; the least count with the same of both, as
/// far as they are in sight, stands for all.
int64_t count_alike(const List& list, int64_t count, int64_t horizon) {
  const int64_t prefix_size = std::ssize(list.prefix);
  if (count <= prefix_size + 1) return count;
  const int64_t missing = list.min_items - count;
  const bool end_in_sight = list.max_items != kUnbounded && list.max_items - count <= horizon;
  if (end_in_sight || (missing > 0 && missing <= horizon)) return count;
  const int64_t least = missing > 0 ? 0 : list.min_items;
  return std::min(count, std::max(least, prefix_size + 1));
}

}  // namespace

Stacks StackCopy::copy_all(const Stacks& stacks, int64_t horizon) {
  Stacks copies;
  for (const StackId stack : stacks)
    copies.push_back(copy(stack, horizon));
  std::ranges::sort(copies);
  copies.erase(std::ranges::unique(copies).begin(), copies.end());
  return copies;
}

StackId StackCopy::copy(StackId stack, int64_t horizon) {
  path_.clear();
  StackId copied = kNoStack;
  for (StackId next = stack; next != kNoStack; next = from_.below(next)) {
    if (const auto known = copies_.find(next); known != copies_.end()) {
      copied = known->second;
      break;
    }
    path_.push_back(next);
  }
  for (; !path_.empty(); path_.pop_back()) {
    copied = to_.push(copied, translated(from_.top(path_.back()), horizon));
    copies_.emplace(path_.back(), copied);
  }
  return copied;
}

Frame StackCopy::translated(const Frame& frame, int64_t horizon) {
  Frame copy = frame;
  const Node& node = from_.grammar().node(frame.node);
  if (const auto* members = std::get_if<Members>(&node)) {
    copy.seen = to_.intern_kinds(from_.kinds(frame.seen, members->kinds.size()));
  } else if (const auto* list = std::get_if<List>(&node); list != nullptr && horizon > 0) {
    copy.count = count_alike(*list, frame.count, horizon);
  }
  return copy;
}

}  // namespace tetrad::grammar
