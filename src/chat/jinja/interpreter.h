#pragma once

// Runs a program: walks its tree, once per rendering.

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "chat/jinja/ast.h"
#include "chat/jinja/budget.h"
#include "chat/jinja/object.h"
#include "chat/jinja/scope.h"
#include "chat/jinja/value.h"
#include "chat/template.h"

namespace tetrad::jinja {

class Interpreter {
 public:
  /// `now`: what strftime_now tells.
  Interpreter(const TemplateLimits& limits, std::chrono::system_clock::time_point now);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  /// A variable of the context; `name` must outlive the rendering.
  void define(std::string_view name, Value value) { context_->set(name, std::move(value)); }

  /// The rendered text, or the first error with its line.
  Result<std::string> run(const Program& program);

  // ---- for filters, tests, methods and global functions ----
  Budget& budget() { return budget_; }
  std::chrono::system_clock::time_point now() const { return now_; }
  Result<Value> call(const Value& callee, const Arguments& arguments);
  /// A filter or test by name, as `map("upper")` and `select("odd")` use them.
  Result<Value> apply_filter(std::string_view name, const Value& subject,
                             const Arguments& arguments);
  Result<bool> apply_test(std::string_view name, const Value& subject, const Arguments& arguments);
  /// The text a macro renders for these arguments; `scope` is the one it was defined in.
  Result<Value> call_macro(const MacroDefinition& macro, std::shared_ptr<const Scope> scope,
                           const Arguments& arguments);
  Result<Value> make_namespace(Dict attributes);
  /// Marks the error as the template's own words: it gets no line in front.
  Error raised_by_template(std::string message);

 private:
  /// How a statement ended.
  enum class Flow : uint8_t { next, break_loop, continue_loop };

  /// Variables and output of the statements inside; what was there before comes back at the end.
  class InnerScope;
  class Capture;

  // ---- statements (interpreter_statement.cpp) ----
  Result<Flow> execute(const Body& body);
  Result<Flow> execute(const Statement& statement);
  Result<Flow> run_statement(const Text& text);
  Result<Flow> run_statement(const Output& output);
  Result<Flow> run_statement(const If& statement);
  Result<Flow> run_statement(const For& loop);
  Result<Flow> run_statement(const Set& statement);
  Result<Flow> run_statement(const SetBlock& statement);
  Result<Flow> run_statement(const Macro& statement);
  Result<Flow> run_statement(const CallBlock& statement);
  Result<Flow> run_statement(const FilterBlock& statement);
  Result<Flow> run_statement(const With& statement);
  Result<Flow> run_statement(const Generation& statement);
  Result<Flow> run_statement(const Break& statement);
  Result<Flow> run_statement(const Continue& statement);
  Result<std::shared_ptr<Iterator>> loop_items(const For& loop);
  Result<void> assign(const Target& target, const Value& value);
  Result<void> assign_kind(const Target::Variable& target, const Value& value);
  Result<void> assign_kind(const Target::NamespaceAttribute& target, const Value& value);
  Result<void> assign_kind(const Target::Unpacked& target, const Value& value);
  Result<Value> apply_chain(const std::vector<NamedCall>& filters, Value subject);
  Value make_macro(const MacroDefinition& definition);
  Result<void> bind_parameters(const MacroDefinition& macro, const Arguments& arguments);

  // ---- expressions (interpreter_expression.cpp) ----
  Result<Value> evaluate(const Expression& expression);
  Result<Value> evaluate_node(const Literal& node);
  Result<Value> evaluate_node(const Name& node);
  Result<Value> evaluate_node(const ListLiteral& node);
  Result<Value> evaluate_node(const TupleLiteral& node);
  Result<Value> evaluate_node(const DictLiteral& node);
  Result<Value> evaluate_node(const Unary& node);
  Result<Value> evaluate_node(const Binary& node);
  Result<Value> evaluate_node(const Logical& node);
  Result<Value> evaluate_node(const Comparison& node);
  Result<Value> evaluate_node(const Concatenation& node);
  Result<Value> evaluate_node(const Conditional& node);
  Result<Value> evaluate_node(const Attribute& node);
  Result<Value> evaluate_node(const Subscript& node);
  Result<Value> evaluate_node(const Slice& node);
  Result<Value> evaluate_node(const Call& node);
  Result<Value> evaluate_node(const Filtered& node);
  Result<Value> evaluate_node(const Tested& node);
  Result<std::vector<Value>> evaluate_all(const std::vector<ExpressionPtr>& expressions);
  Result<Arguments> evaluate_arguments(const CallArguments& arguments);
  Result<Value> evaluate_call(const Call& node, const Value* caller);
  Result<Value> call_named(const NamedCall& call, std::string_view what, const Value& subject);

  Result<void> enter();
  void leave() { --depth_; }
  /// Puts the line in front of an error, once.
  Error at_line(Error error, int line);

  TemplateLimits limits_;
  Budget budget_;
  std::chrono::system_clock::time_point now_;
  std::shared_ptr<Scope> context_;
  std::shared_ptr<Scope> scope_;
  std::string output_;
  int depth_ = 0;
  bool error_has_line_ = false;
  // A namespace can be part of a cycle of references, which the end of the rendering cuts.
  std::vector<std::shared_ptr<Namespace>> namespaces_;
};

}  // namespace tetrad::jinja
