#pragma once

// The program that a template is compiled to. Immutable: one program renders on many threads.

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "chat/jinja/object.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/value.h"

namespace tetrad::jinja {

struct Expression;
struct Statement;
using ExpressionPtr = std::unique_ptr<const Expression>;
using Body = std::vector<Statement>;

// ---- expressions ----

struct Literal {
  Value value;
};

struct Name {
  std::string name;
};

struct ListLiteral {
  std::vector<ExpressionPtr> items;
};

struct TupleLiteral {
  std::vector<ExpressionPtr> items;
};

struct DictLiteral {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> items;
};

struct Unary {
  enum class Operator : uint8_t { negate, posit, logical_not };
  Operator op;
  ExpressionPtr operand;
};

struct Binary {
  BinaryOperator op;
  ExpressionPtr left;
  ExpressionPtr right;
};

/// `and`, `or`: the value of the side that decides.
struct Logical {
  bool is_and;
  ExpressionPtr left;
  ExpressionPtr right;
};

/// a < b < c: all must hold, each operand is evaluated once.
struct Comparison {
  ExpressionPtr first;
  std::vector<std::pair<CompareOperator, ExpressionPtr>> rest;
};

/// a ~ b ~ c
struct Concatenation {
  std::vector<ExpressionPtr> parts;
};

/// `a if test else b`; without else the value is undefined.
struct Conditional {
  ExpressionPtr test;
  ExpressionPtr then;
  ExpressionPtr otherwise;
};

/// object.name
struct Attribute {
  ExpressionPtr object;
  std::string name;
};

/// object[index]
struct Subscript {
  ExpressionPtr object;
  ExpressionPtr index;
};

/// object[start:stop:step], each part optional
struct Slice {
  ExpressionPtr object;
  ExpressionPtr start;
  ExpressionPtr stop;
  ExpressionPtr step;
};

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> keyword;
  ExpressionPtr star;       // *args
  ExpressionPtr star_star;  // **kwargs
};

struct Call {
  ExpressionPtr callee;
  CallArguments arguments;
};

/// A filter or test with its arguments. Unknown names are an error when the template is compiled,
/// except inside `if`, where a template may ask first whether they exist: then function is null.
struct NamedCall {
  int line = 0;
  std::string name;
  Function function = nullptr;
  CallArguments arguments;
};

struct Filtered {
  ExpressionPtr subject;
  NamedCall filter;
};

struct Tested {
  ExpressionPtr subject;
  NamedCall test;
};

struct Expression {
  using Node = std::variant<Literal, Name, ListLiteral, TupleLiteral, DictLiteral, Unary, Binary,
                            Logical, Comparison, Concatenation, Conditional, Attribute, Subscript,
                            Slice, Call, Filtered, Tested>;
  int line;
  /// Longest path to a leaf; the parser bounds it, so that recursion over a tree is safe.
  int height;
  Node node;
};

// ---- statements ----

struct Target;

/// What `set`, `for` and `with` assign to.
struct Target {
  struct Variable {
    std::string name;
  };
  struct NamespaceAttribute {
    std::string name;
    std::string attribute;
  };
  struct Unpacked {
    std::vector<Target> targets;
  };
  int line = 0;
  std::variant<Variable, NamespaceAttribute, Unpacked> kind;
};

struct Text {
  std::string text;
};

struct Output {
  std::vector<ExpressionPtr> expressions;
};

struct If {
  struct Branch {
    ExpressionPtr test;  // null: else
    Body body;
  };
  std::vector<Branch> branches;
};

struct For {
  Target target;
  ExpressionPtr iterable;
  ExpressionPtr filter;  // null: none
  Body body;
  Body otherwise;
};

struct Set {
  Target target;
  ExpressionPtr value;
};

/// {% set x | filter %}…{% endset %}
struct SetBlock {
  Target target;
  std::vector<NamedCall> filters;
  Body body;
};

/// A macro, or the body of a `call` block, which is an anonymous one.
struct MacroDefinition {
  struct Parameter {
    std::string name;
    ExpressionPtr fallback;  // null: none
  };
  std::string name;
  std::vector<Parameter> parameters;
  Body body;
  bool uses_caller = false;
  bool uses_varargs = false;
  bool uses_kwargs = false;
};

struct Macro {
  MacroDefinition definition;
};

struct CallBlock {
  MacroDefinition caller;
  ExpressionPtr call;  // a Call
};

struct FilterBlock {
  std::vector<NamedCall> filters;
  Body body;
};

struct With {
  std::vector<std::pair<Target, ExpressionPtr>> variables;
  Body body;
};

/// {% generation %}: marks what an assistant said; here only a scope of its own.
struct Generation {
  Body body;
};

struct Break {};
struct Continue {};

struct Statement {
  using Node = std::variant<Text, Output, If, For, Set, SetBlock, Macro, CallBlock, FilterBlock,
                            With, Generation, Break, Continue>;
  int line;
  Node node;
};

/// A whole template.
struct Program {
  Body body;
  /// Variables that are undefined until the template sets them, even if the context has one of
  /// that name: see Parser::note_store.
  std::vector<std::string> initially_undefined;
};

}  // namespace tetrad::jinja
