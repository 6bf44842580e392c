#pragma once

// Grammar nodes for conjunctions of JSON schemas. Nodes are declared first and defined later, so
// that neither recursion nor depth of a schema is recursion here.

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "grammar/grammar.h"
#include "grammar/schema_arrays.h"
#include "grammar/schema_exclusive.h"
#include "grammar/schema_syntax.h"

namespace tetrad::grammar {

class SchemaCompiler {
 public:
  /// `document` and `builder` must outlive the compiler.
  SchemaCompiler(const SchemaDocument& document, Builder& builder, const JsonSyntax& syntax,
                 const SchemaLimits& limits, std::string_view param)
      : document_(document),
        builder_(builder),
        budget_(limits, param),
        syntax_(syntax),
        normalizer_(document, budget_),
        strings_(document, budget_),
        exclusive_(document, budget_, normalizer_, strings_),
        first_node_(builder.num_nodes()) {}
  SchemaCompiler(const SchemaCompiler&) = delete;
  SchemaCompiler& operator=(const SchemaCompiler&) = delete;

  /// The JSON texts of the values that satisfy the terms. To be defined by finish().
  NodeId values_of(const Terms& terms);
  Result<void> finish();

  /// Alternatives of which every "oneOf" is known to be exclusive.
  Result<std::shared_ptr<const Ways>> ways(const Terms& terms);
  Result<ObjectShape> objects_of(const Alternative& alternative);

  const SchemaDocument& document() const { return document_; }
  Builder& builder() { return builder_; }
  SchemaBudget& budget() { return budget_; }
  SchemaStrings& strings() { return strings_; }
  const JsonSyntax& syntax() const { return syntax_; }

  /// Of several alternatives what is not structured, gathered.
  struct Scalars {
    TypeMask literals = 0;
    std::vector<std::string_view> strings;
    std::vector<NodeId> nodes;
  };
  Result<void> add_scalars(const Alternative& alternative, Scalars& scalars);
  /// An automaton's texts, encoded once.
  Result<NodeId> text_node(const Automaton& automaton, Encoding encoding);
  Result<NodeId> literals_node(TypeMask literals);

  /// The automaton of an object's keys, each written as `prefix`, key, `suffix`, and for each of
  /// its labels what is to be known of the member.
  struct Keys {
    struct Kind {
      std::string_view key;  // where it is the only one
      KeyValue value;
      bool required = false;
      bool once = false;
    };
    std::shared_ptr<const ByteDfa> dfa;  // null: there are no keys
    std::vector<Kind> kinds;
  };
  Result<Keys> keys_of(const ObjectShape& shape, Encoding encoding, std::string_view prefix,
                       std::string_view suffix);

 private:
  struct Job {
    Terms terms;
    NodeId declared;
  };

  Result<NodeId> node_of(const Terms& terms);
  Result<const ExclusiveOptions*> first_overlap(const Ways& ways);
  Result<NodeId> scalars_node(const Scalars& scalars);
  Result<NodeId> strings_node(const StringSet& set);
  Result<NodeId> numbers_node(const Alternative& alternative);
  Result<NodeId> arrays_node(const Alternative& alternative);
  Result<NodeId> unique_items_node(const ArrayShape& shape);
  NodeId containing_items_node(const ArrayShape& shape);
  Result<NodeId> objects_node(const Alternative& alternative);
  Result<NodeId> members_node(const ObjectShape& shape);

  const SchemaDocument& document_;
  Builder& builder_;
  SchemaBudget budget_;
  const JsonSyntax syntax_;
  SchemaNormalizer normalizer_;
  SchemaStrings strings_;
  ExclusiveCheck exclusive_;
  size_t first_node_;
  std::deque<Job> jobs_;
  std::map<Terms, NodeId> nodes_;
  std::map<std::string, NodeId> numbers_;
  struct Encoded {
    Automaton automaton;  // keeps the address
    NodeId node;
  };
  std::map<std::pair<const void*, Encoding>, Encoded> encoded_;
  std::map<TypeMask, NodeId> literals_;
};

}  // namespace tetrad::grammar
