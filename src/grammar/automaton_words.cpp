// The smallest automaton of a list of words, grown word by word in their order: what no later word
// can go through any more is looked up among the states there are (Daciuk et al., "Incremental
// construction of minimal acyclic finite-state automata", 2000).

#include <algorithm>

#include "grammar/code_point_dfa.h"
#include "grammar/code_point_set.h"
#include "grammar/index_table.h"

namespace tetrad::grammar {
namespace {

class WordGraph {
 public:
  /// In ascending order of bytes, which in UTF-8 is that of code points.
  void add(std::string_view word) {
    word_.clear();
    for (size_t at = 0; at < word.size();)
      word_.push_back(next_code_point(word, at));
    const auto common = std::ranges::mismatch(path_, word_).in1 - path_.begin();
    settle(static_cast<size_t>(common));
    path_.insert(path_.end(), word_.begin() + common, word_.end());
    if (open_.size() <= path_.size()) open_.resize(path_.size() + 1);
    open_[path_.size()].label = 0;
  }

  CodePointDfa finish() {
    settle(0);
    const int32_t root = settled(open_[0]);
    // The root comes last: counted from behind it is state 0.
    CodePointDfa result;
    for (int32_t state = root; state >= 0; --state) {
      for (const CodePointDfa::Edge& edge : graph_.edges(state))
        result.add_edge(edge.low, edge.high, root - edge.target);
      result.end_state(graph_.label(state));
    }
    return result;
  }

 private:
  struct OpenState {
    std::vector<CodePointDfa::Edge> edges;
    int32_t label = CodePointDfa::kNoLabel;
  };

  /// Ends the states of the last word's path that lie more than `length` characters deep.
  void settle(size_t length) {
    while (path_.size() > length) {
      const int32_t state = settled(open_[path_.size()]);
      const char32_t c = path_.back();
      path_.pop_back();
      std::vector<CodePointDfa::Edge>& edges = open_[path_.size()].edges;
      if (!edges.empty() && edges.back().target == state && edges.back().high + 1 == c) {
        edges.back().high = c;
      } else {
        edges.push_back({c, c, state});
      }
    }
  }

  /// The state equal to an open one, which is emptied for its next use.
  int32_t settled(OpenState& open) {
    auto hash = static_cast<uint64_t>(open.label);
    for (const CodePointDfa::Edge& edge : open.edges) {
      add_to_hash(hash, uint64_t{edge.low} << 32 | edge.high);
      add_to_hash(hash, static_cast<uint64_t>(edge.target));
    }
    const auto next = static_cast<int32_t>(graph_.num_states());
    const int32_t state = states_.find_or_add(hash, next, [&](int32_t known) {
      return open.label == graph_.label(known) &&
             std::ranges::equal(open.edges, graph_.edges(known));
    });
    if (state == next) {
      for (const CodePointDfa::Edge& edge : open.edges)
        graph_.add_edge(edge.low, edge.high, edge.target);
      graph_.end_state(open.label);
    }
    open.edges.clear();
    open.label = CodePointDfa::kNoLabel;
    return state;
  }

  std::vector<char32_t> word_;
  std::vector<char32_t> path_;                   // the last word
  std::vector<OpenState> open_ = {OpenState()};  // [depth]: the states on it, the root first
  CodePointDfa graph_;
  IndexTable states_;  // of the graph, by what they are
};

}  // namespace

Automaton Automaton::any_of(std::span<const std::string_view> texts) {
  if (texts.empty()) return none();
  std::vector<std::string_view> words(texts.begin(), texts.end());
  std::ranges::sort(words);
  WordGraph graph;
  for (const std::string_view word : words)
    graph.add(word);
  return Automaton(std::make_shared<const Impl>(Impl{graph.finish()}));
}

}  // namespace tetrad::grammar
