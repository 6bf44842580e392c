#include "grammar/encode_graph.h"

#include <algorithm>
#include <array>
#include <bitset>

namespace tetrad::grammar {
int32_t ByteGraph::add_state() {
  edges_.emplace_back();
  labels_.push_back(ByteDfa::kNoLabel);
  return static_cast<int32_t>(labels_.size()) - 1;
}

int32_t ByteGraph::inner(std::vector<ByteEdge> edges) {
  uint64_t hash = edges.size();
  for (const ByteEdge& edge : edges) {
    add_to_hash(hash, uint64_t{edge.low} << 40 | uint64_t{edge.high} << 32 |
                          static_cast<uint32_t>(edge.target));
  }
  const auto next = static_cast<int32_t>(num_states());
  const int32_t state = inner_.find_or_add(
      hash, next, [&](int32_t known) { return std::ranges::equal(edges, this->edges(known)); });
  if (state == next) set_edges(add_state(), std::move(edges));
  return state;
}

ByteDfa ByteGraph::finish() const {
  std::bitset<257> begins;  // bytes that some edge tells from the one before
  for (const std::vector<ByteEdge>& edges : edges_) {
    for (const ByteEdge& edge : edges) {
      begins.set(edge.low);
      begins.set(edge.high + size_t{1});
    }
  }
  std::array<uint8_t, 256> class_of{};
  for (size_t byte = 1; byte < 256; ++byte)
    class_of[byte] = static_cast<uint8_t>(class_of[byte - 1] + (begins.test(byte) ? 1 : 0));
  const size_t num_classes = class_of[255] + size_t{1};
  std::vector<ByteDfa::State> next(num_states() * num_classes, ByteDfa::kDead);
  for (size_t state = 0; state < num_states(); ++state) {
    for (const ByteEdge& edge : edges_[state]) {
      for (size_t c = class_of[edge.low]; c <= class_of[edge.high]; ++c)
        next[state * num_classes + c] = edge.target;
    }
  }
  return ByteDfa(class_of, num_classes, next, labels_);
}

void append_byte_edge(std::vector<ByteEdge>& edges, ByteEdge edge) {
  if (!edges.empty() && edges.back().target == edge.target && edges.back().high + 1 == edge.low) {
    edges.back().high = edge.high;
  } else {
    edges.push_back(edge);
  }
}

}  // namespace tetrad::grammar
