#pragma once

// The least number of bytes that is left of a node that has been begun. Sums saturate at kNoMatch.

#include <cstdint>
#include <span>
#include <vector>

#include "grammar/grammar.h"

namespace tetrad::grammar {

inline int64_t add_costs(int64_t a, int64_t b) {
  return a >= kNoMatch - b ? kNoMatch : a + b;
}

/// The parts from `begin` on.
int64_t sequence_cost(const Grammar& grammar, const Sequence& sequence, size_t begin);

/// The item at `index`; kNoMatch behind max_items.
int64_t item_cost(const Grammar& grammar, const List& list, int64_t index);

/// What is left of a list behind its item number `count` (behind its opening, if there is none):
/// the items that it has to have, and the closing.
int64_t list_cost(const Grammar& grammar, const List& list, int64_t count);

/// Which members an object has: a bit for each kind.
using SeenKinds = std::span<const uint64_t>;

inline bool has_kind(SeenKinds seen, size_t kind) {
  return (seen[kind / 64] >> (kind % 64) & 1) != 0;
}

/// An object behind its member number `count`, with the kinds of `seen`. All three arguments must
/// outlive it.
class MembersView {
 public:
  MembersView(const Grammar& grammar, const Members& members, SeenKinds seen, int64_t count);

  /// Whether a member of this kind may come as the next one.
  bool may_come(size_t kind) const;
  /// Whether the object may be closed.
  bool may_close() const { return num_missing_ == 0 && count_ >= members_.min_members; }
  /// The members that it has to have, and the closing.
  int64_t cost() const { return cost_behind(count_, num_missing_, required_cost_, nullptr); }
  /// The same behind one more member, which is of this kind.
  int64_t cost_with(size_t kind) const;

 private:
  int64_t cost_behind(int64_t count, int64_t num_missing, int64_t required_cost,
                      const size_t* also_seen) const;
  int64_t optional_cost(int64_t num, const size_t* also_seen) const;
  int64_t member_cost(size_t kind) const;

  const Grammar& grammar_;
  const Members& members_;
  SeenKinds seen_;
  int64_t count_;
  int64_t separator_cost_;
  int64_t num_missing_ = 0;    // required kinds that are not there yet
  int64_t required_cost_ = 0;  // of them, each with a separator
};

/// What follows the key of a member: up to the end of the member.
int64_t value_cost(const Grammar& grammar, const Members& members, size_t kind);

}  // namespace tetrad::grammar
