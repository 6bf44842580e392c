#pragma once

// Tokens to a program, by recursive descent in Jinja's order of precedence:
//   if-else, or, and, not, comparison, + -, ~, * / // %, **, unary + -, postfix, filter and test.

#include <algorithm>
#include <initializer_list>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "chat/jinja/ast.h"
#include "chat/jinja/lexer.h"

namespace tetrad::jinja {

/// A template ready to run. ErrorCode::corrupt_data (or ::unsupported for tags that load other
/// templates) with the line of the problem.
Result<Program> parse_template(std::string_view source);

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Result<Program> parse();

 private:
  // Deeper templates are refused: parsing, rendering and destroying a program are recursive.
  static constexpr int kMaxNesting = 100;
  static constexpr int kMaxExpressionHeight = 200;

  enum class CondExpr : uint8_t { allowed, not_allowed };

  // ---- tokens ----
  const Token& current() const { return tokens_[position_]; }
  const Token& ahead() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  int line() const { return current().line; }
  void advance() {
    if (position_ + 1 < tokens_.size()) ++position_;
  }
  Token take();
  bool skip_name(std::string_view name);
  bool skip_op(std::string_view symbol);
  Result<void> expect_op(std::string_view symbol);
  Result<void> expect(TokenType type);
  Result<std::string> expect_name(std::string_view what);
  tl::unexpected<Error> unexpected(std::string_view wanted) const;

  // ---- expressions (parser_expression.cpp) ----
  /// One expression, or a tuple without parentheses: what {{ }} and most tags hold.
  Result<ExpressionPtr> parse_tuple(CondExpr cond_expr = CondExpr::allowed);
  Result<ExpressionPtr> parse_expression(CondExpr cond_expr = CondExpr::allowed);
  Result<ExpressionPtr> parse_conditional();
  Result<ExpressionPtr> parse_or();
  Result<ExpressionPtr> parse_and();
  Result<ExpressionPtr> parse_not();
  Result<ExpressionPtr> parse_comparison();
  Result<ExpressionPtr> parse_sum();
  Result<ExpressionPtr> parse_concatenation();
  Result<ExpressionPtr> parse_product();
  Result<ExpressionPtr> parse_power();
  Result<ExpressionPtr> parse_unary(bool with_filters);
  Result<ExpressionPtr> parse_primary();
  Result<ExpressionPtr> parse_name();
  Result<ExpressionPtr> parse_string();
  Result<ExpressionPtr> parse_parenthesised();
  Result<ExpressionPtr> parse_list();
  Result<ExpressionPtr> parse_dict();
  Result<ExpressionPtr> parse_postfix(ExpressionPtr expression);
  Result<ExpressionPtr> parse_filters_and_tests(ExpressionPtr expression);
  Result<ExpressionPtr> parse_attribute(ExpressionPtr object);
  Result<ExpressionPtr> parse_subscript(ExpressionPtr object);
  Result<ExpressionPtr> parse_slice(ExpressionPtr object, ExpressionPtr start);
  Result<ExpressionPtr> parse_call(ExpressionPtr callee);
  Result<ExpressionPtr> parse_test(ExpressionPtr subject);
  Result<NamedCall> parse_filter();
  Result<CallArguments> parse_call_arguments();
  Result<void> parse_argument(CallArguments& arguments);
  std::optional<CompareOperator> take_comparison();
  bool at_tuple_end() const;

  static int height(const CallArguments& arguments);
  static int height(const ExpressionPtr& expression) { return expression ? expression->height : 0; }
  static int height(const std::vector<ExpressionPtr>& expressions);
  template <class First, class... Rest>
  static int max_height(const First& first, const Rest&... rest) {
    return std::max({height(first), height(rest)...});
  }
  Result<ExpressionPtr> make(int line, Expression::Node node, int children_height);

  // ---- statements (parser_statement.cpp) ----
  /// Statements up to a tag with one of these names, which is left as the current token.
  Result<Body> parse_body(std::initializer_list<std::string_view> end_tags);
  /// The same behind the end of the opening tag; the end tag is passed, and its name returned.
  Result<Body> parse_block(std::initializer_list<std::string_view> end_tags,
                           std::string* end_tag = nullptr);
  Result<Statement> parse_statement();
  Result<Statement::Node> parse_tag(const std::string& tag);
  Result<Statement::Node> parse_if();
  Result<Statement::Node> parse_for();
  Result<Statement::Node> parse_set();
  Result<Statement::Node> parse_macro();
  Result<Statement::Node> parse_call_block();
  Result<Statement::Node> parse_filter_block();
  Result<Statement::Node> parse_with();
  Result<Statement::Node> parse_generation();
  Result<Statement::Node> parse_print();
  Result<Statement::Node> parse_loop_control(const std::string& tag);
  Result<void> parse_parameters(MacroDefinition& definition);
  Result<void> parse_macro_body(MacroDefinition& definition, std::string_view end_tag);
  Result<Target> parse_target();
  Result<Target> parse_set_target();
  Result<Target> parse_target_item();
  Result<Target> parse_variable();
  Result<std::vector<NamedCall>> parse_filter_chain();

  // ---- what names mean ----
  void note_load(std::string_view name);
  /// Jinja decides once for the whole template where a variable at its top level comes from: if
  /// the first thing that happens to it there is an unconditional assignment, it starts undefined,
  /// also for macros and loops that read it before that.
  void note_store(std::string_view name);
  void note_store(const Target& target);
  /// Unknown filters and tests since `mark` may stand: an `if` decides whether they are used.
  void excuse_unknown_since(size_t mark);
  /// … can no longer be excused: Jinja checks loops and macros by themselves.
  void keep_unknown_since(size_t mark);

  struct UnknownName {
    int line;
    std::string message;
    bool is_final = false;
  };

  std::vector<Token> tokens_;
  size_t position_ = 0;
  int nesting_ = 0;
  int loops_ = 0;       // around here, within the same macro: break is allowed
  int branches_ = 0;    // `if` blocks around here
  int blocks_ = 0;      // blocks with variables of their own around here
  int for_blocks_ = 0;  // around here at all: `loop` may not be assigned
  std::vector<MacroDefinition*> open_macros_;
  std::vector<UnknownName> unknown_names_;
  std::unordered_set<std::string> top_level_names_;
  std::vector<std::string> initially_undefined_;
};

}  // namespace tetrad::jinja
