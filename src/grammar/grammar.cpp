#include "grammar/grammar.h"

#include <algorithm>
#include <deque>

#include "grammar/costs.h"

namespace tetrad::grammar {
namespace {

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

/// All nodes that a node is made of.
std::vector<NodeId> children(const Node& node) {
  return std::visit(Overloaded{
                        [](const Sequence& sequence) { return sequence.parts; },
                        [](const Choice& choice) { return choice.options; },
                        [](const List& list) {
                          std::vector<NodeId> all = list.prefix;
                          all.insert(all.end(), {list.open, list.separator, list.close, list.rest});
                          return all;
                        },
                        [](const Members& members) {
                          std::vector<NodeId> all = {members.open, members.separator, members.close,
                                                     members.between, members.after};
                          for (const Members::Kind& kind : members.kinds)
                            all.push_back(kind.value);
                          return all;
                        },
                        [](const auto&) { return std::vector<NodeId>(); },
                    },
                    node);
}

/// From the distances of its children, as far as they are known.
int64_t node_cost(const Grammar& grammar, const Node& node) {
  return std::visit(
      Overloaded{
          [](const Never&) { return kNoMatch; },
          [](const Text& text) {
            return text.dfa->empty() ? kNoMatch : int64_t{text.dfa->min_bytes(ByteDfa::kStart)};
          },
          [](const Special&) { return int64_t{1}; },
          [&](const Sequence& sequence) { return sequence_cost(grammar, sequence, 0); },
          [&](const Choice& choice) {
            int64_t least = kNoMatch;
            for (const NodeId option : choice.options)
              least = std::min(least, grammar.least(option));
            return least;
          },
          [&](const List& list) {
            return add_costs(grammar.least(list.open), list_cost(grammar, list, 0));
          },
          [&](const Members& members) {
            const std::vector<uint64_t> none((members.kinds.size() + 63) / 64);
            return add_costs(grammar.least(members.open),
                             MembersView(grammar, members, none, 0).cost());
          },
      },
      node);
}

/// Lets costs fall from "nothing" until nothing changes.
bool settle_costs(Grammar& grammar) {
  const size_t num_nodes = grammar.nodes.size();
  grammar.min_bytes.assign(num_nodes, kNoMatch);
  std::vector<std::vector<NodeId>> parents(num_nodes);
  std::deque<NodeId> queue;
  for (size_t i = 0; i < num_nodes; ++i) {
    const auto id = static_cast<NodeId>(i);
    queue.push_back(id);
    for (const NodeId child : children(grammar.nodes[i]))
      parents[static_cast<size_t>(child)].push_back(id);
  }
  std::vector<bool> queued(num_nodes, true);
  // Each change lowers a cost; in a hostile grammar they could fall very often, by little.
  for (size_t budget = 64 * num_nodes + 1024; !queue.empty(); --budget) {
    if (budget == 0) return false;
    const NodeId id = queue.front();
    queue.pop_front();
    queued[static_cast<size_t>(id)] = false;
    const int64_t cost = node_cost(grammar, grammar.node(id));
    if (cost >= grammar.least(id)) continue;
    grammar.min_bytes[static_cast<size_t>(id)] = cost;
    for (const NodeId parent : parents[static_cast<size_t>(id)]) {
      if (queued[static_cast<size_t>(parent)]) continue;
      queued[static_cast<size_t>(parent)] = true;
      queue.push_back(parent);
    }
  }
  return true;
}

/// The nodes that may begin where this one begins.
std::vector<NodeId> beginnings(const Grammar& grammar, const Node& node) {
  const auto may_be_empty = [&](NodeId id) { return grammar.least(id) == 0; };
  std::vector<NodeId> all;
  if (const auto* choice = std::get_if<Choice>(&node)) return choice->options;
  if (const auto* sequence = std::get_if<Sequence>(&node)) {
    for (const NodeId part : sequence->parts) {
      all.push_back(part);
      if (!may_be_empty(part)) break;
    }
  } else if (const auto* list = std::get_if<List>(&node)) {
    all.push_back(list->open);
    if (!may_be_empty(list->open)) return all;
    all.insert(all.end(), list->prefix.begin(), list->prefix.end());
    all.insert(all.end(), {list->rest, list->separator, list->close});
  } else if (const auto* members = std::get_if<Members>(&node)) {
    all.push_back(members->open);
    // Keys are not empty.
    if (may_be_empty(members->open)) all.push_back(members->close);
  }
  return all;
}

/// Whether some node can begin with itself: expanding it would not end.
bool is_left_recursive(const Grammar& grammar) {
  enum class Mark : uint8_t { fresh, open, done };
  struct Visit {
    NodeId id;
    std::vector<NodeId> next;
  };
  std::vector<Mark> marks(grammar.nodes.size(), Mark::fresh);
  std::vector<Visit> path;
  const auto enter = [&](NodeId id) {
    marks[static_cast<size_t>(id)] = Mark::open;
    path.push_back({id, beginnings(grammar, grammar.node(id))});
  };
  for (size_t i = 0; i < marks.size(); ++i) {
    if (marks[i] == Mark::fresh) enter(static_cast<NodeId>(i));
    while (!path.empty()) {
      Visit& visit = path.back();
      if (visit.next.empty()) {
        marks[static_cast<size_t>(visit.id)] = Mark::done;
        path.pop_back();
        continue;
      }
      const NodeId next = visit.next.back();
      visit.next.pop_back();
      // What matches nothing is never expanded.
      if (!grammar.matches_something(next)) continue;
      if (marks[static_cast<size_t>(next)] == Mark::open) return true;
      if (marks[static_cast<size_t>(next)] == Mark::fresh) enter(next);
    }
  }
  return false;
}

/// For each state the labels ahead, nearest first found: breadth first, backwards, label by label.
std::shared_ptr<const KeyReach> key_reach(const ByteDfa& keys) {
  const size_t num_states = keys.num_states();
  std::vector<std::vector<int32_t>> before(num_states);
  std::vector<std::vector<int32_t>> ends;
  for (size_t i = 0; i < num_states; ++i) {
    const auto state = static_cast<ByteDfa::State>(i);
    std::vector<int32_t> next;
    for (int byte = 0; byte < 256; ++byte) {
      const auto to = keys.next(state, static_cast<uint8_t>(byte));
      if (to != ByteDfa::kDead) next.push_back(to);
    }
    std::ranges::sort(next);
    next.erase(std::ranges::unique(next).begin(), next.end());
    for (const int32_t to : next)
      before[static_cast<size_t>(to)].push_back(state);
    if (!keys.accepts(state)) continue;
    const auto label = static_cast<size_t>(keys.label(state));
    if (ends.size() <= label) ends.resize(label + 1);
    ends[label].push_back(state);
  }
  auto reach = std::make_shared<KeyReach>();
  reach->states.resize(num_states);
  std::vector<int32_t> seen_for(num_states, -1);
  for (size_t label = 0; label < ends.size(); ++label) {
    const auto mark = static_cast<int32_t>(label);
    std::deque<std::pair<int32_t, int32_t>> queue;  // state, bytes
    for (const int32_t state : ends[label]) {
      queue.emplace_back(state, 0);
      seen_for[static_cast<size_t>(state)] = mark;
    }
    while (!queue.empty()) {
      const auto [state, bytes] = queue.front();
      queue.pop_front();
      reach->states[static_cast<size_t>(state)].push_back({mark, bytes});
      for (const int32_t from : before[static_cast<size_t>(state)]) {
        if (std::exchange(seen_for[static_cast<size_t>(from)], mark) != mark) {
          queue.emplace_back(from, bytes + 1);
        }
      }
    }
  }
  return reach;
}

}  // namespace

NodeId Builder::add(Node node) {
  if (auto* members = std::get_if<Members>(&node)) {
    if (members->keys != nullptr) members->reach = key_reach(*members->keys);
  }
  nodes_.push_back(std::move(node));
  return static_cast<NodeId>(nodes_.size() - 1);
}

NodeId Builder::literal(std::string_view bytes) {
  if (bytes.empty()) return empty();
  // A chain: state i has seen i bytes. Class 0 is for bytes that do not occur.
  std::array<uint8_t, 256> class_of{};
  size_t num_classes = 1;
  for (const char c : bytes) {
    uint8_t& byte_class = class_of[static_cast<uint8_t>(c)];
    if (byte_class == 0) byte_class = static_cast<uint8_t>(num_classes++);
    // All 256 bytes in one literal leave no number for those that do not occur, and none do not.
    if (num_classes > 256)
      return sequence(
          {literal(bytes.substr(0, bytes.size() / 2)), literal(bytes.substr(bytes.size() / 2))});
  }
  std::vector<ByteDfa::State> next((bytes.size() + 1) * num_classes, ByteDfa::kDead);
  for (size_t i = 0; i < bytes.size(); ++i)
    next[i * num_classes + class_of[static_cast<uint8_t>(bytes[i])]] =
        static_cast<ByteDfa::State>(i + 1);
  std::vector<int32_t> labels(bytes.size() + 1, ByteDfa::kNoLabel);
  labels.back() = 0;
  return text(
      std::make_shared<const ByteDfa>(class_of, num_classes, std::move(next), std::move(labels)));
}

NodeId Builder::repeat(NodeId node, int64_t min, int64_t max) {
  const NodeId nothing = empty();
  return add(List{.open = nothing,
                  .separator = nothing,
                  .close = nothing,
                  .prefix = {},
                  .rest = node,
                  .min_items = min,
                  .max_items = max});
}

void Builder::define(NodeId declared, NodeId node) {
  nodes_[static_cast<size_t>(declared)] = Sequence{{node}};
}

Result<Grammar> Builder::finish(NodeId root) && {
  const auto refuse = [](std::string_view why) {
    return tl::unexpected<Error>(Error{ErrorCode::invalid_argument, std::string(why), ""});
  };
  if (is_overfull()) {
    return fail(ErrorCode::invalid_argument, "it has {} parts and may have {}; make it smaller",
                nodes_.size(), limits_.max_nodes);
  }
  Grammar grammar{.nodes = std::move(nodes_), .min_bytes = {}, .root = root};
  if (!settle_costs(grammar)) return refuse("it is too entangled; make it simpler");
  // Lists end before their first item that cannot be; empty items need not be counted.
  for (Node& node : grammar.nodes) {
    auto* list = std::get_if<List>(&node);
    if (list == nullptr) continue;
    const auto last = std::ranges::find_if(
        list->prefix, [&](NodeId item) { return !grammar.matches_something(item); });
    const auto num_possible = static_cast<int64_t>(last - list->prefix.begin());
    const bool ends = last != list->prefix.end() || !grammar.matches_something(list->rest);
    if (ends) list->max_items = std::min(list->max_items, num_possible);
    if (list->prefix.empty() && grammar.least(list->rest) == 0 &&
        grammar.least(list->separator) == 0) {
      list->min_items = 0;
    }
  }
  if (!grammar.matches_something(root)) return refuse("nothing satisfies it");
  if (is_left_recursive(grammar)) {
    return refuse("it is left recursive: a rule can begin with itself; write a repetition instead");
  }
  return grammar;
}

}  // namespace tetrad::grammar
