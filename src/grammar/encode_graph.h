#pragma once

// The states of an automaton over bytes while it is put together.

#include <cstdint>
#include <span>
#include <vector>

#include "grammar/byte_dfa.h"
#include "grammar/index_table.h"

namespace tetrad::grammar {

struct ByteEdge {
  uint8_t low;
  uint8_t high;
  int32_t target;

  bool operator==(const ByteEdge&) const = default;
};

/// States 0 … n-1 are given; those in the middle of a character come behind them, and two of these
/// with the same edges are one.
class ByteGraph {
 public:
  explicit ByteGraph(size_t num_states)
      : edges_(num_states), labels_(num_states, ByteDfa::kNoLabel) {}

  size_t num_states() const { return labels_.size(); }
  std::span<const ByteEdge> edges(int32_t state) const {
    return edges_[static_cast<size_t>(state)];
  }
  void set_edges(int32_t state, std::vector<ByteEdge> edges) {
    edges_[static_cast<size_t>(state)] = std::move(edges);
  }
  void set_label(int32_t state, int32_t label) { labels_[static_cast<size_t>(state)] = label; }
  int32_t add_state();

  /// The state with these edges, in ascending order.
  int32_t inner(std::vector<ByteEdge> edges);

  ByteDfa finish() const;

 private:
  std::vector<std::vector<ByteEdge>> edges_;
  std::vector<int32_t> labels_;
  IndexTable inner_;  // by their edges
};

/// Appends an edge above all others, or makes the last one longer.
void append_byte_edge(std::vector<ByteEdge>& edges, ByteEdge edge);

}  // namespace tetrad::grammar
