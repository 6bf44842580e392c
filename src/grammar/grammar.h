#pragma once

// Context-free grammars over bytes and added tokens, and the builder that makes them.
//
// A grammar is a graph of nodes. Choices are non-deterministic; what decides one byte at a time is
// the Matcher (matcher.h).

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"
#include "grammar/byte_dfa.h"
#include "text/token_id.h"

namespace tetrad::grammar {

using NodeId = int32_t;

constexpr int64_t kUnbounded = std::numeric_limits<int64_t>::max();

/// Nothing matches.
struct Never {};

/// The texts of an automaton.
struct Text {
  std::shared_ptr<const ByteDfa> dfa;
};

/// One added token, such as </think>, whose spelling by ordinary tokens is not the same.
struct Special {
  TokenId id = 0;
};

struct Sequence {
  std::vector<NodeId> parts;  // none: the empty text
};

struct Choice {
  std::vector<NodeId> options;
};

/// open, items with a separator between them, close. The first items are those of `prefix`, in
/// their order; further ones are `rest`. A repetition is a list of nothing but `rest`.
struct List {
  NodeId open;
  NodeId separator;
  NodeId close;
  std::vector<NodeId> prefix;
  NodeId rest;
  int64_t min_items = 0;
  int64_t max_items = kUnbounded;
};

/// How far from each state of a key automaton its labels are.
struct KeyReach {
  struct Label {
    int32_t label = 0;
    int32_t min_bytes = 0;  // from the state to the end of the nearest key with this label
  };
  std::vector<std::vector<Label>> states;  // [num_states], labels ascending
};

/// open, members with a separator between them, close; in any order. A member is a key, told from
/// others by `keys`, `between` (a colon, say), the value that belongs to the key, and `after`.
struct Members {
  struct Kind {
    NodeId value;
    bool required = false;
    bool once = false;  // the key is one text, which must not come again
  };
  NodeId open;
  NodeId separator;
  NodeId close;
  NodeId between;
  NodeId after;
  /// The labels are places in `kinds`. Keys whose kind has a value that nothing matches are out.
  std::shared_ptr<const ByteDfa> keys;
  std::vector<Kind> kinds;
  int64_t min_members = 0;
  int64_t max_members = kUnbounded;
  std::shared_ptr<const KeyReach> reach;  // of `keys`; Builder::finish() fills it in
};

using Node = std::variant<Never, Text, Special, Sequence, Choice, List, Members>;

/// A cost that nothing pays: the node matches nothing.
constexpr int64_t kNoMatch = std::numeric_limits<int64_t>::max() / 4;

/// Immutable.
struct Grammar {
  std::vector<Node> nodes;
  /// [nodes]: the fewest bytes that a node matches, an added token counted as one; kNoMatch where
  /// nothing matches.
  std::vector<int64_t> min_bytes;
  NodeId root = 0;

  const Node& node(NodeId id) const { return nodes[static_cast<size_t>(id)]; }
  int64_t least(NodeId id) const { return min_bytes[static_cast<size_t>(id)]; }
  bool matches_something(NodeId id) const { return least(id) < kNoMatch; }
};

struct GrammarLimits {
  size_t max_nodes = 200'000;
};

class Builder {
 public:
  explicit Builder(GrammarLimits limits = {}) : limits_(limits) {}

  NodeId never() { return add(Never{}); }
  NodeId empty() { return add(Sequence{}); }
  NodeId literal(std::string_view bytes);
  NodeId text(std::shared_ptr<const ByteDfa> dfa) { return add(Text{std::move(dfa)}); }
  NodeId special(TokenId id) { return add(Special{id}); }
  NodeId sequence(std::vector<NodeId> parts) { return add(Sequence{std::move(parts)}); }
  NodeId choice(std::vector<NodeId> options) { return add(Choice{std::move(options)}); }
  NodeId optional(NodeId node) { return choice({empty(), node}); }
  NodeId repeat(NodeId node, int64_t min, int64_t max);
  NodeId add(Node node);

  /// A node that is not known yet, for recursion. It has to be defined before finish().
  NodeId declare() { return add(Never{}); }
  void define(NodeId declared, NodeId node);

  size_t num_nodes() const { return nodes_.size(); }
  /// More nodes than there may be. A compiler that works in steps asks; finish() does in any case.
  bool is_overfull() const { return nodes_.size() > limits_.max_nodes; }

  /// Errors, all ErrorCode::invalid_argument: too many nodes, left recursion, nothing matches.
  Result<Grammar> finish(NodeId root) &&;

 private:
  GrammarLimits limits_;
  std::vector<Node> nodes_;
};

}  // namespace tetrad::grammar
