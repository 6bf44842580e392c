#pragma once

// Graphs of steps, found by what their launches depend on.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "gpu/device.h"

namespace tetrad {

/// Keeps at most kMaxGraphs graphs, of the shapes used last. A shape is worth recording when it
/// comes for the second time while it is remembered: recording takes as long as several steps, and
/// of the shapes that a busy server sees many come once.
template <class Shape>
class GraphCache {
 public:
  static constexpr size_t kMaxGraphs = 128;
  /// Shapes that came once, so that they are known again.
  static constexpr size_t kMaxRemembered = 1024;

  /// The graph of a shape, and whether one should be recorded where there is none.
  struct Found {
    const gpu::Graph* graph = nullptr;
    bool is_worth_recording = false;
  };
  Found find(const Shape& shape) {
    ++now_;
    if (const auto known = graphs_.find(shape); known != graphs_.end()) {
      known->second.used = now_;
      return {known->second.graph.get(), false};
    }
    if (seen_.erase(shape) > 0) return {nullptr, true};
    drop_oldest(seen_, kMaxRemembered - 1);
    seen_[shape].used = now_;
    return {};
  }

  /// Takes the graph that find() asked for. What goes for it must not be running.
  const gpu::Graph& add(const Shape& shape, std::unique_ptr<gpu::Graph> graph) {
    drop_oldest(graphs_, kMaxGraphs - 1);
    Entry& entry = graphs_[shape];
    entry = {now_, std::move(graph)};
    return *entry.graph;
  }

  void clear() {
    graphs_.clear();
    seen_.clear();
  }
  size_t num_graphs() const { return graphs_.size(); }

 private:
  struct Entry {
    uint64_t used = 0;
    std::unique_ptr<gpu::Graph> graph;
  };

  static void drop_oldest(std::map<Shape, Entry>& entries, size_t keep) {
    while (entries.size() > keep) {
      auto oldest = entries.begin();
      for (auto each = entries.begin(); each != entries.end(); ++each) {
        if (each->second.used < oldest->second.used) oldest = each;
      }
      entries.erase(oldest);
    }
  }

  uint64_t now_ = 0;
  std::map<Shape, Entry> graphs_;
  std::map<Shape, Entry> seen_;
};

}  // namespace tetrad
