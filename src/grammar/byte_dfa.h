#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tetrad::grammar {

/// A deterministic automaton over bytes. Every state is live: from each, an accepting one can be
/// reached (an automaton of no states accepts nothing). States that accept carry a label, by which
/// an automaton that recognises several kinds of text tells them apart.
class ByteDfa {
 public:
  using State = int32_t;
  static constexpr State kDead = -1;
  static constexpr State kStart = 0;
  static constexpr int32_t kNoLabel = -1;

  /// `next`: [num_states][num_classes], kDead where there is no way; `labels`: [num_states].
  /// States that are not live, or not reachable from state 0, are removed; the others are
  /// renumbered, and state 0 stays the start.
  ByteDfa(const std::array<uint8_t, 256>& class_of, size_t num_classes,
          const std::vector<State>& next, std::vector<int32_t> labels);

  bool empty() const { return labels_.empty(); }
  size_t num_states() const { return labels_.size(); }
  State next(State state, uint8_t byte) const {
    return next_[static_cast<size_t>(state) * num_classes_ + class_of_[byte]];
  }
  bool accepts(State state) const { return label(state) != kNoLabel; }
  /// kNoLabel: the state does not accept.
  int32_t label(State state) const { return labels_[static_cast<size_t>(state)]; }
  /// The fewest bytes to an accepting state: 0 in one.
  int32_t min_bytes(State state) const { return min_bytes_[static_cast<size_t>(state)]; }
  /// Whether a byte can follow.
  bool goes_on(State state) const { return goes_on_[static_cast<size_t>(state)]; }

 private:
  std::array<uint8_t, 256> class_of_;
  size_t num_classes_;
  std::vector<State> next_;
  std::vector<int32_t> labels_;
  std::vector<int32_t> min_bytes_;
  std::vector<bool> goes_on_;
};

}  // namespace tetrad::grammar
