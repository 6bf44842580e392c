#pragma once

// One byte, or one added token, on from where a match stands.

#include <cstdint>
#include <unordered_set>
#include <vector>

#include "grammar/stack_store.h"

namespace tetrad::grammar {

/// The stacks that a match may be on, ascending and each once: with choices it may be on several.
/// Every top is a Text, a Special or a key; kNoStack: the match may end here. Empty: there is no
/// match.
using Stacks = std::vector<StackId>;

/// Stands for a whole grammar's beginning and for steps in it. Not thread-safe.
class Closure {
 public:
  /// Deeper stacks and more of them are given up: what would need them does not match.
  struct Limits {
    int32_t max_depth = 4096;
    size_t max_stacks = 512;
  };

  explicit Closure(StackStore& store) : Closure(store, Limits()) {}
  Closure(StackStore& store, Limits limits) : store_(store), limits_(limits) {}

  Stacks begin();
  Stacks step(const Stacks& from, uint8_t byte);
  Stacks step_special(const Stacks& from, TokenId id);

 private:
  void reset();
  Stacks take();
  void add(StackId stack);
  void enter(StackId below, NodeId node);
  void leave(StackId stack, bool by_bytes);
  void leave_list(StackId stack, const List& list);
  void leave_members(StackId stack, const Members& members);
  void begin_item(StackId below, const Frame& frame, const List& list, int64_t count);
  void after_member(StackId below, const Frame& frame, const Members& members);
  void begin_key(StackId below, const Frame& frame);
  void key_state(StackId below, Frame frame, const Members& members);

  /// Work to do: enter `node` on `stack`, or, without a node, leave the child of `stack`.
  struct Task {
    StackId stack;
    NodeId node;
    bool by_bytes;
  };
  static constexpr NodeId kLeave = -1;

  StackStore& store_;
  Limits limits_;
  std::vector<Task> tasks_;
  Stacks found_;
  std::unordered_set<StackId> begun_;  // items begun since the last byte
  std::unordered_set<StackId> left_;   // stacks left since the last byte
  std::unordered_set<uint64_t> entered_;
};

/// The added tokens that may come next; one twice where two stacks wait for it.
std::vector<TokenId> special_tokens(const StackStore& store, const Stacks& stacks);

/// The fewest bytes that end the match; kNoMatch where there is none.
int64_t min_bytes(const StackStore& store, const Stacks& stacks);

}  // namespace tetrad::grammar
