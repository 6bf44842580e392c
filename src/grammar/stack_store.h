#pragma once

// Where a match stands: stacks of frames, each stored once.

#include <cstdint>
#include <span>
#include <vector>

#include "grammar/grammar.h"
#include "grammar/index_table.h"

namespace tetrad::grammar {

using StackId = int32_t;
/// The stack of a match that is at its end.
constexpr StackId kNoStack = -1;

/// What of a node a frame is in. For Text and Special there is one only.
enum class Phase : uint8_t {
  text,       // Text: `state` of its automaton
  special,    // Special: the token is to come
  sequence,   // `state`: the part that follows when the child is done
  open,       // List, Members: the child is the opening
  item,       // List: `count` items are done, the child is the next
  separator,  // List, Members: `count` done
  key,        // Members: `state` of the key automaton
  between,    // Members: `state`: the kind of the member
  value,
  after,
};

struct Frame {
  NodeId node = 0;
  Phase phase = Phase::text;
  int32_t state = 0;
  int32_t seen = 0;   // Members: the set of kinds there are, see StackStore::kinds()
  int64_t count = 0;  // List, Members: items there are

  bool operator==(const Frame&) const = default;
};

/// Stacks share their lower parts, and equal stacks have equal ids.
class StackStore {
 public:
  explicit StackStore(const Grammar& grammar) : grammar_(&grammar) {}

  const Grammar& grammar() const { return *grammar_; }
  StackId push(StackId below, const Frame& frame);
  const Frame& top(StackId stack) const { return entry(stack).frame; }
  StackId below(StackId stack) const { return entry(stack).below; }
  /// The fewest bytes, added tokens counted as one, that end the whole match from here.
  int64_t min_bytes(StackId stack) const { return stack == kNoStack ? 0 : entry(stack).min_bytes; }
  int32_t depth(StackId stack) const { return stack == kNoStack ? 0 : entry(stack).depth; }

  /// Sets of kinds; the id 0 is the empty set, whatever the number of kinds.
  std::vector<uint64_t> kinds(int32_t seen, size_t num_kinds) const;
  int32_t with_kind(int32_t seen, size_t num_kinds, size_t kind);
  int32_t intern_kinds(std::vector<uint64_t> kinds);

  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    Frame frame;
    StackId below;
    int32_t depth;
    int64_t min_bytes;
  };
  const Entry& entry(StackId stack) const { return entries_[static_cast<size_t>(stack)]; }
  int64_t rest_cost(const Frame& frame) const;

  const Grammar* grammar_;
  std::vector<Entry> entries_;
  IndexTable ids_;  // of entries_
  std::vector<std::vector<uint64_t>> kind_sets_{{}};
  IndexTable kind_set_ids_;  // of kind_sets_, but for the empty one
};

}  // namespace tetrad::grammar
