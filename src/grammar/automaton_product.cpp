#include <algorithm>

#include "grammar/code_point_dfa.h"
#include "grammar/index_table.h"

namespace tetrad::grammar {
namespace {

/// What a product may hold in all its states together, for each state that is allowed.
constexpr size_t kMaxFactorStatesPerState = 200;

/// Numbers tuples of factor states in the order in which they come.
class TupleTable {
 public:
  /// The number of a tuple.
  int32_t number_of(std::span<const FactorState> tuple) {
    uint64_t hash = 0;
    for (const FactorState& item : tuple) {
      add_to_hash(hash,
                  static_cast<uint64_t>(item.factor) << 32 | static_cast<uint32_t>(item.state));
    }
    const auto next = static_cast<int32_t>(num_tuples());
    const int32_t number = numbers_.find_or_add(
        hash, next, [&](int32_t known) { return std::ranges::equal(tuple, this->tuple(known)); });
    if (number == next) {
      items_.insert(items_.end(), tuple.begin(), tuple.end());
      first_.push_back(items_.size());
    }
    return number;
  }
  std::span<const FactorState> tuple(int32_t number) const {
    const auto n = static_cast<size_t>(number);
    return std::span(items_).subspan(first_[n], first_[n + 1] - first_[n]);
  }
  size_t num_tuples() const { return first_.size() - 1; }
  size_t num_items() const { return items_.size(); }

 private:
  std::vector<size_t> first_ = {0};
  std::vector<FactorState> items_;
  IndexTable numbers_;
};

struct FactorEdge {
  char32_t low;
  char32_t high;
  FactorState target;
};

class Product {
 public:
  Product(std::span<const CodePointDfa* const> factors, ProductRule& rule, AutomatonLimits limits)
      : factors_(factors), rule_(rule), limits_(limits) {}

  Result<CodePointDfa> run() {
    for (size_t i = 0; i < factors_.size(); ++i)
      if (factors_[i]->num_states() > 0) alive_.push_back({static_cast<int32_t>(i), 0});
    if (alive_.empty() || !rule_.keeps(alive_)) return CodePointDfa();
    tuples_.number_of(alive_);
    for (int32_t state = 0; static_cast<size_t>(state) < tuples_.num_tuples(); ++state) {
      collect_edges(state);
      add_edges();
      result_.end_state(rule_.label(tuples_.tuple(state)));
      if (too_large()) return too_many_states(limits_);
    }
    return reduced(result_);
  }

 private:
  bool too_large() const {
    return tuples_.num_tuples() > limits_.max_states || result_.num_edges() > max_edges(limits_) ||
           tuples_.num_items() > kMaxFactorStatesPerState * limits_.max_states;
  }

  void collect_edges(int32_t state) {
    edges_.clear();
    for (const FactorState& item : tuples_.tuple(state)) {
      const CodePointDfa& factor = *factors_[static_cast<size_t>(item.factor)];
      for (const CodePointDfa::Edge& edge : factor.edges(item.state))
        edges_.push_back({edge.low, edge.high, {item.factor, edge.target}});
    }
    std::ranges::sort(edges_, {}, &FactorEdge::low);
  }

  /// Goes through the code points from one place where something begins or ends to the next.
  void add_edges() {
    active_.clear();
    for (size_t next = 0; (next < edges_.size() || !active_.empty()) && !too_large();) {
      if (active_.empty()) at_ = edges_[next].low;
      for (; next < edges_.size() && edges_[next].low == at_; ++next)
        activate(edges_[next]);
      char32_t end = next < edges_.size() ? edges_[next].low - 1 : active_.front().high;
      for (const FactorEdge& edge : active_)
        end = std::min(end, edge.high);
      add_edge(end);
      at_ = end + 1;
      std::erase_if(active_, [&](const FactorEdge& edge) { return edge.high < at_; });
    }
  }

  void activate(const FactorEdge& edge) {
    const auto place =
        std::ranges::upper_bound(active_, edge.target.factor, {},
                                 [](const FactorEdge& active) { return active.target.factor; });
    active_.insert(place, edge);
  }

  void add_edge(char32_t end) {
    alive_.clear();
    for (const FactorEdge& edge : active_)
      alive_.push_back(edge.target);
    if (rule_.keeps(alive_)) result_.add_edge(at_, end, tuples_.number_of(alive_));
  }

  std::span<const CodePointDfa* const> factors_;
  ProductRule& rule_;
  AutomatonLimits limits_;
  TupleTable tuples_;
  CodePointDfa result_;
  std::vector<FactorEdge> edges_;   // of the state at hand
  std::vector<FactorEdge> active_;  // those that cover at_, by their factors
  std::vector<FactorState> alive_;
  char32_t at_ = 0;
};

}  // namespace

Result<CodePointDfa> product(std::span<const CodePointDfa* const> factors, ProductRule& rule,
                             AutomatonLimits limits) {
  return Product(factors, rule, limits).run();
}

}  // namespace tetrad::grammar
