#include "chat/jinja/filters.h"
#include "chat/jinja/parser.h"
#include "chat/jinja/tests.h"

namespace tetrad::jinja {

Token Parser::take() {
  Token token = current();
  advance();
  return token;
}

bool Parser::skip_name(std::string_view name) {
  if (!current().is_name(name)) return false;
  advance();
  return true;
}

bool Parser::skip_op(std::string_view symbol) {
  if (!current().is_op(symbol)) return false;
  advance();
  return true;
}

tl::unexpected<Error> Parser::unexpected(std::string_view wanted) const {
  return syntax_error(line(), "expected {}, not {}", wanted, describe(current()));
}

Result<void> Parser::expect_op(std::string_view symbol) {
  if (!skip_op(symbol)) return unexpected("'" + std::string(symbol) + "'");
  return {};
}

Result<void> Parser::expect(TokenType type) {
  if (current().type != type) return unexpected(describe(Token{type, 0, "", {}}));
  advance();
  return {};
}

Result<std::string> Parser::expect_name(std::string_view what) {
  if (current().type != TokenType::name) return unexpected(what);
  return take().text;
}

int Parser::height(const std::vector<ExpressionPtr>& expressions) {
  int highest = 0;
  for (const ExpressionPtr& expression : expressions) {
    highest = std::max(highest, expression->height);
  }
  return highest;
}

int Parser::height(const CallArguments& arguments) {
  int highest =
      std::max({height(arguments.positional), height(arguments.star), height(arguments.star_star)});
  for (const auto& [name, value] : arguments.keyword)
    highest = std::max(highest, value->height);
  return highest;
}

Result<ExpressionPtr> Parser::make(int line, Expression::Node node, int children_height) {
  if (children_height >= kMaxExpressionHeight) {
    return syntax_error(line, "the expression is nested more than {} deep", kMaxExpressionHeight);
  }
  return std::make_unique<const Expression>(Expression{line, children_height + 1, std::move(node)});
}

bool Parser::at_tuple_end() const {
  const Token& token = current();
  return token.type == TokenType::variable_end || token.type == TokenType::block_end ||
         token.is_op(")");
}

Result<ExpressionPtr> Parser::parse_tuple(CondExpr cond_expr) {
  const int start = line();
  if (at_tuple_end()) return unexpected("an expression");
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  while (!at_tuple_end()) {
    TETRAD_ASSIGN(ExpressionPtr item, parse_expression(cond_expr));
    items.push_back(std::move(item));
    if (!skip_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) return std::move(items.front());
  const int children = height(items);
  return make(start, TupleLiteral{std::move(items)}, children);
}

Result<ExpressionPtr> Parser::parse_expression(CondExpr cond_expr) {
  if (nesting_ >= kMaxNesting) {
    return syntax_error(line(), "brackets and blocks are nested more than {} deep", kMaxNesting);
  }
  ++nesting_;
  auto result = cond_expr == CondExpr::allowed ? parse_conditional() : parse_or();
  --nesting_;
  return result;
}

Result<ExpressionPtr> Parser::parse_conditional() {
  const int start = line();
  const size_t mark = unknown_names_.size();
  TETRAD_ASSIGN(ExpressionPtr result, parse_or());
  while (skip_name("if")) {
    TETRAD_ASSIGN(ExpressionPtr test, parse_or());
    ExpressionPtr otherwise;
    if (skip_name("else")) {
      TETRAD_ASSIGN(otherwise, parse_expression());
    }
    excuse_unknown_since(mark);
    const int children = max_height(result, test, otherwise);
    TETRAD_ASSIGN(result,
                  make(start, Conditional{std::move(test), std::move(result), std::move(otherwise)},
                       children));
  }
  return result;
}

Result<ExpressionPtr> Parser::parse_or() {
  TETRAD_ASSIGN(ExpressionPtr left, parse_and());
  while (current().is_name("or")) {
    const int start = take().line;
    TETRAD_ASSIGN(ExpressionPtr right, parse_and());
    const int children = max_height(left, right);
    TETRAD_ASSIGN(left, make(start, Logical{false, std::move(left), std::move(right)}, children));
  }
  return left;
}

Result<ExpressionPtr> Parser::parse_and() {
  TETRAD_ASSIGN(ExpressionPtr left, parse_not());
  while (current().is_name("and")) {
    const int start = take().line;
    TETRAD_ASSIGN(ExpressionPtr right, parse_not());
    const int children = max_height(left, right);
    TETRAD_ASSIGN(left, make(start, Logical{true, std::move(left), std::move(right)}, children));
  }
  return left;
}

Result<ExpressionPtr> Parser::parse_not() {
  const int start = line();
  int negations = 0;
  while (skip_name("not"))
    ++negations;
  TETRAD_ASSIGN(ExpressionPtr operand, parse_comparison());
  for (; negations > 0; --negations) {
    const int children = height(operand);
    TETRAD_ASSIGN(operand,
                  make(start, Unary{Unary::Operator::logical_not, std::move(operand)}, children));
  }
  return operand;
}

std::optional<CompareOperator> Parser::take_comparison() {
  for (const auto op : {CompareOperator::eq, CompareOperator::ne, CompareOperator::lt,
                        CompareOperator::le, CompareOperator::gt, CompareOperator::ge}) {
    if (skip_op(symbol_of(op))) return op;
  }
  if (skip_name("in")) return CompareOperator::in;
  if (current().is_name("not") && ahead().is_name("in")) {
    advance();
    advance();
    return CompareOperator::not_in;
  }
  return std::nullopt;
}

Result<ExpressionPtr> Parser::parse_comparison() {
  const int start = line();
  TETRAD_ASSIGN(ExpressionPtr first, parse_sum());
  std::vector<std::pair<CompareOperator, ExpressionPtr>> rest;
  int children = height(first);
  while (const auto op = take_comparison()) {
    TETRAD_ASSIGN(ExpressionPtr operand, parse_sum());
    children = std::max(children, height(operand));
    rest.emplace_back(*op, std::move(operand));
  }
  if (rest.empty()) return first;
  return make(start, Comparison{std::move(first), std::move(rest)}, children);
}

Result<ExpressionPtr> Parser::parse_sum() {
  TETRAD_ASSIGN(ExpressionPtr left, parse_concatenation());
  while (current().is_op("+") || current().is_op("-")) {
    const Token token = take();
    const auto op = token.is_op("+") ? BinaryOperator::add : BinaryOperator::subtract;
    TETRAD_ASSIGN(ExpressionPtr right, parse_concatenation());
    const int children = max_height(left, right);
    TETRAD_ASSIGN(left, make(token.line, Binary{op, std::move(left), std::move(right)}, children));
  }
  return left;
}

Result<ExpressionPtr> Parser::parse_concatenation() {
  const int start = line();
  std::vector<ExpressionPtr> parts;
  do {
    TETRAD_ASSIGN(ExpressionPtr part, parse_product());
    parts.push_back(std::move(part));
  } while (skip_op("~"));
  if (parts.size() == 1) return std::move(parts.front());
  const int children = height(parts);
  return make(start, Concatenation{std::move(parts)}, children);
}

Result<ExpressionPtr> Parser::parse_product() {
  TETRAD_ASSIGN(ExpressionPtr left, parse_power());
  for (;;) {
    std::optional<BinaryOperator> op;
    for (const auto candidate : {BinaryOperator::multiply, BinaryOperator::divide,
                                 BinaryOperator::floor_divide, BinaryOperator::modulo}) {
      if (current().is_op(symbol_of(candidate))) op = candidate;
    }
    if (!op) return left;
    const int start = take().line;
    TETRAD_ASSIGN(ExpressionPtr right, parse_power());
    const int children = max_height(left, right);
    TETRAD_ASSIGN(left, make(start, Binary{*op, std::move(left), std::move(right)}, children));
  }
}

// From left to right, as in Jinja and unlike in Python: 2 ** 3 ** 2 is 64.
Result<ExpressionPtr> Parser::parse_power() {
  TETRAD_ASSIGN(ExpressionPtr left, parse_unary(true));
  while (current().is_op("**")) {
    const int start = take().line;
    TETRAD_ASSIGN(ExpressionPtr right, parse_unary(true));
    const int children = max_height(left, right);
    TETRAD_ASSIGN(
        left,
        make(start, Binary{BinaryOperator::power, std::move(left), std::move(right)}, children));
  }
  return left;
}

Result<ExpressionPtr> Parser::parse_unary(bool with_filters) {
  std::vector<Token> signs;
  while (current().is_op("-") || current().is_op("+"))
    signs.push_back(take());
  TETRAD_ASSIGN(ExpressionPtr result, parse_primary());
  TETRAD_ASSIGN(result, parse_postfix(std::move(result)));
  for (; !signs.empty(); signs.pop_back()) {
    const auto op = signs.back().is_op("-") ? Unary::Operator::negate : Unary::Operator::posit;
    const int children = height(result);
    TETRAD_ASSIGN(result, make(signs.back().line, Unary{op, std::move(result)}, children));
  }
  if (!with_filters) return result;
  return parse_filters_and_tests(std::move(result));
}

Result<ExpressionPtr> Parser::parse_primary() {
  switch (current().type) {
    case TokenType::name:
      return parse_name();
    case TokenType::string:
      return parse_string();
    case TokenType::integer:
    case TokenType::floating: {
      const Token token = take();
      return make(token.line, Literal{token.number}, 0);
    }
    case TokenType::op:
      if (current().is_op("(")) return parse_parenthesised();
      if (current().is_op("[")) return parse_list();
      if (current().is_op("{")) return parse_dict();
      return unexpected("an expression");
    default:
      return unexpected("an expression");
  }
}

Result<ExpressionPtr> Parser::parse_name() {
  Token token = take();
  if (token.text == "true" || token.text == "True") {
    return make(token.line, Literal{Value::boolean(true)}, 0);
  }
  if (token.text == "false" || token.text == "False") {
    return make(token.line, Literal{Value::boolean(false)}, 0);
  }
  if (token.text == "none" || token.text == "None") {
    return make(token.line, Literal{Value::none()}, 0);
  }
  note_load(token.text);
  return make(token.line, Name{std::move(token.text)}, 0);
}

Result<ExpressionPtr> Parser::parse_string() {
  const int start = line();
  std::string text;
  while (current().type == TokenType::string)
    text += take().text;
  return make(start, Literal{Value::string(std::move(text))}, 0);
}

Result<ExpressionPtr> Parser::parse_parenthesised() {
  const int start = take().line;
  if (skip_op(")")) return make(start, TupleLiteral{}, 0);
  TETRAD_ASSIGN(ExpressionPtr inside, parse_tuple());
  TETRAD_TRY(expect_op(")"));
  return inside;
}

Result<ExpressionPtr> Parser::parse_list() {
  const int start = take().line;
  std::vector<ExpressionPtr> items;
  while (!current().is_op("]")) {
    TETRAD_ASSIGN(ExpressionPtr item, parse_expression());
    items.push_back(std::move(item));
    if (!skip_op(",")) break;
  }
  TETRAD_TRY(expect_op("]"));
  const int children = height(items);
  return make(start, ListLiteral{std::move(items)}, children);
}

Result<ExpressionPtr> Parser::parse_dict() {
  const int start = take().line;
  DictLiteral dict;
  int children = 0;
  while (!current().is_op("}")) {
    TETRAD_ASSIGN(ExpressionPtr key, parse_expression());
    TETRAD_TRY(expect_op(":"));
    TETRAD_ASSIGN(ExpressionPtr value, parse_expression());
    children = std::max(children, max_height(key, value));
    dict.items.emplace_back(std::move(key), std::move(value));
    if (!skip_op(",")) break;
  }
  TETRAD_TRY(expect_op("}"));
  return make(start, std::move(dict), children);
}

Result<ExpressionPtr> Parser::parse_postfix(ExpressionPtr expression) {
  for (;;) {
    if (current().is_op(".")) {
      TETRAD_ASSIGN(expression, parse_attribute(std::move(expression)));
    } else if (current().is_op("[")) {
      TETRAD_ASSIGN(expression, parse_subscript(std::move(expression)));
    } else if (current().is_op("(")) {
      TETRAD_ASSIGN(expression, parse_call(std::move(expression)));
    } else {
      return expression;
    }
  }
}

Result<ExpressionPtr> Parser::parse_filters_and_tests(ExpressionPtr expression) {
  for (;;) {
    if (current().is_op("|")) {
      const int start = take().line;
      TETRAD_ASSIGN(NamedCall filter, parse_filter());
      const int children = max_height(expression, filter.arguments);
      TETRAD_ASSIGN(expression,
                    make(start, Filtered{std::move(expression), std::move(filter)}, children));
    } else if (current().is_name("is")) {
      TETRAD_ASSIGN(expression, parse_test(std::move(expression)));
    } else if (current().is_op("(")) {
      TETRAD_ASSIGN(expression, parse_call(std::move(expression)));
    } else {
      return expression;
    }
  }
}

Result<ExpressionPtr> Parser::parse_attribute(ExpressionPtr object) {
  const int start = take().line;
  const int children = height(object);
  if (current().type == TokenType::name) {
    return make(start, Attribute{std::move(object), take().text}, children);
  }
  if (current().type != TokenType::integer) return unexpected("a name or an index behind '.'");
  TETRAD_ASSIGN(ExpressionPtr index, make(start, Literal{take().number}, 0));
  return make(start, Subscript{std::move(object), std::move(index)}, children);
}

Result<ExpressionPtr> Parser::parse_subscript(ExpressionPtr object) {
  const int start = take().line;
  if (current().is_op(":")) return parse_slice(std::move(object), nullptr);
  std::vector<ExpressionPtr> items;
  if (!current().is_op("]")) {
    do {
      TETRAD_ASSIGN(ExpressionPtr item, parse_expression());
      if (items.empty() && current().is_op(":")) {
        return parse_slice(std::move(object), std::move(item));
      }
      items.push_back(std::move(item));
    } while (skip_op(","));
  }
  TETRAD_TRY(expect_op("]"));
  ExpressionPtr index;
  if (items.size() == 1) {
    index = std::move(items.front());
  } else {
    const int children = height(items);
    TETRAD_ASSIGN(index, make(start, TupleLiteral{std::move(items)}, children));
  }
  const int children = max_height(object, index);
  return make(start, Subscript{std::move(object), std::move(index)}, children);
}

Result<ExpressionPtr> Parser::parse_slice(ExpressionPtr object, ExpressionPtr start) {
  const int first_line = take().line;  // :
  ExpressionPtr stop;
  ExpressionPtr step;
  if (!current().is_op("]") && !current().is_op(":")) {
    TETRAD_ASSIGN(stop, parse_expression());
  }
  if (skip_op(":") && !current().is_op("]")) {
    TETRAD_ASSIGN(step, parse_expression());
  }
  TETRAD_TRY(expect_op("]"));
  const int children = max_height(object, start, stop, step);
  return make(first_line,
              Slice{std::move(object), std::move(start), std::move(stop), std::move(step)},
              children);
}

Result<ExpressionPtr> Parser::parse_call(ExpressionPtr callee) {
  const int start = line();
  TETRAD_ASSIGN(CallArguments arguments, parse_call_arguments());
  const int children = max_height(callee, arguments);
  return make(start, Call{std::move(callee), std::move(arguments)}, children);
}

Result<CallArguments> Parser::parse_call_arguments() {
  TETRAD_TRY(expect_op("("));
  CallArguments arguments;
  while (!current().is_op(")")) {
    TETRAD_TRY(parse_argument(arguments));
    if (!skip_op(",")) break;
  }
  TETRAD_TRY(expect_op(")"));
  return arguments;
}

Result<void> Parser::parse_argument(CallArguments& arguments) {
  const int start = line();
  if (arguments.star_star) return syntax_error(start, "no argument may follow **");
  if (skip_op("**")) {
    TETRAD_ASSIGN(arguments.star_star, parse_expression());
    return {};
  }
  if (current().type == TokenType::name && ahead().is_op("=")) {
    std::string name = take().text;
    advance();
    TETRAD_ASSIGN(ExpressionPtr value, parse_expression());
    for (const auto& [other, unused] : arguments.keyword) {
      if (other == name) return syntax_error(start, "the argument '{}' is given twice", name);
    }
    arguments.keyword.emplace_back(std::move(name), std::move(value));
    return {};
  }
  if (arguments.star) return syntax_error(start, "only keyword arguments may follow *");
  if (skip_op("*")) {
    TETRAD_ASSIGN(arguments.star, parse_expression());
    return {};
  }
  if (!arguments.keyword.empty()) {
    return syntax_error(start, "a positional argument follows a keyword argument");
  }
  TETRAD_ASSIGN(ExpressionPtr value, parse_expression());
  arguments.positional.push_back(std::move(value));
  return {};
}

Result<NamedCall> Parser::parse_filter() {
  NamedCall filter;
  filter.line = line();
  TETRAD_ASSIGN(filter.name, expect_name("the name of a filter"));
  filter.function = find_filter(filter.name);
  if (filter.function == nullptr) {
    unknown_names_.push_back({filter.line, "there is no filter named '" + filter.name + "'"});
  }
  if (current().is_op("(")) {
    TETRAD_ASSIGN(filter.arguments, parse_call_arguments());
  }
  return filter;
}

Result<ExpressionPtr> Parser::parse_test(ExpressionPtr subject) {
  const int start = take().line;  // is
  const bool is_negated = skip_name("not");
  NamedCall test;
  test.line = start;
  TETRAD_ASSIGN(test.name, expect_name("the name of a test"));
  test.function = find_test(test.name);
  if (test.function == nullptr) {
    unknown_names_.push_back({start, "there is no test named '" + test.name + "'"});
  }
  const Token& next = current();
  const bool is_operand = next.type == TokenType::string || next.type == TokenType::integer ||
                          next.type == TokenType::floating || next.is_op("[") || next.is_op("{") ||
                          (next.type == TokenType::name && next.text != "else" &&
                           next.text != "or" && next.text != "and");
  if (next.is_op("(")) {
    TETRAD_ASSIGN(test.arguments, parse_call_arguments());
  } else if (next.is_name("is")) {
    return syntax_error(start, "tests cannot be chained with 'is'");
  } else if (is_operand) {
    TETRAD_ASSIGN(ExpressionPtr argument, parse_primary());
    TETRAD_ASSIGN(argument, parse_postfix(std::move(argument)));
    test.arguments.positional.push_back(std::move(argument));
  }
  const int children = max_height(subject, test.arguments);
  TETRAD_ASSIGN(ExpressionPtr result,
                make(start, Tested{std::move(subject), std::move(test)}, children));
  if (!is_negated) return result;
  const int negated_height = height(result);
  return make(start, Unary{Unary::Operator::logical_not, std::move(result)}, negated_height);
}

}  // namespace tetrad::jinja
