#include "chat/jinja/attributes.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/iteration.h"
#include "chat/jinja/python_text.h"

namespace tetrad::jinja {

Result<Value> Interpreter::evaluate(const Expression& expression) {
  if (auto entered = enter(); !entered) {
    return tl::unexpected<Error>(at_line(std::move(entered.error()), expression.line));
  }
  auto result = std::visit([&](const auto& node) { return evaluate_node(node); }, expression.node);
  leave();
  if (!result) return tl::unexpected<Error>(at_line(std::move(result.error()), expression.line));
  return result;
}

Result<std::vector<Value>> Interpreter::evaluate_all(
    const std::vector<ExpressionPtr>& expressions) {
  std::vector<Value> values;
  values.reserve(expressions.size());
  for (const ExpressionPtr& expression : expressions) {
    TETRAD_ASSIGN(Value value, evaluate(*expression));
    values.push_back(std::move(value));
  }
  return values;
}

Result<Value> Interpreter::evaluate_node(const Literal& node) {
  return node.value;
}

Result<Value> Interpreter::evaluate_node(const Name& node) {
  if (const Value* value = scope_->find(node.name)) return *value;
  return Value::undefined("'" + node.name + "' is undefined");
}

Result<Value> Interpreter::evaluate_node(const ListLiteral& node) {
  TETRAD_ASSIGN(std::vector<Value> items, evaluate_all(node.items));
  return Value::list(std::move(items), budget_);
}

Result<Value> Interpreter::evaluate_node(const TupleLiteral& node) {
  TETRAD_ASSIGN(std::vector<Value> items, evaluate_all(node.items));
  return Value::tuple(std::move(items), budget_);
}

Result<Value> Interpreter::evaluate_node(const DictLiteral& node) {
  Dict dict;
  for (const auto& [key_expression, value_expression] : node.items) {
    TETRAD_ASSIGN(Value key, evaluate(*key_expression));
    TETRAD_ASSIGN(Value value, evaluate(*value_expression));
    TETRAD_TRY(dict.insert(std::move(key), std::move(value), budget_));
  }
  return Value::dict(std::move(dict), budget_);
}

Result<Value> Interpreter::evaluate_node(const Unary& node) {
  TETRAD_ASSIGN(const Value operand, evaluate(*node.operand));
  switch (node.op) {
    case Unary::Operator::negate:
      return negate(operand);
    case Unary::Operator::posit:
      return posit(operand);
    case Unary::Operator::logical_not:
      return Value::boolean(!operand.truthy());
  }
  return fail(ErrorCode::internal, "unknown operator");
}

Result<Value> Interpreter::evaluate_node(const Binary& node) {
  TETRAD_ASSIGN(const Value left, evaluate(*node.left));
  TETRAD_ASSIGN(const Value right, evaluate(*node.right));
  return apply_binary(node.op, left, right, budget_);
}

Result<Value> Interpreter::evaluate_node(const Logical& node) {
  TETRAD_ASSIGN(Value left, evaluate(*node.left));
  if (left.truthy() != node.is_and) return left;
  return evaluate(*node.right);
}

Result<Value> Interpreter::evaluate_node(const Comparison& node) {
  TETRAD_ASSIGN(Value left, evaluate(*node.first));
  for (const auto& [op, operand] : node.rest) {
    TETRAD_ASSIGN(Value right, evaluate(*operand));
    TETRAD_ASSIGN(const bool holds, apply_compare(op, left, right, budget_));
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Result<Value> Interpreter::evaluate_node(const Concatenation& node) {
  std::string text;
  for (const ExpressionPtr& part : node.parts) {
    TETRAD_ASSIGN(const Value value, evaluate(*part));
    TETRAD_TRY(append_text(text, value, budget_));
  }
  return Value::string(std::move(text));
}

Result<Value> Interpreter::evaluate_node(const Conditional& node) {
  TETRAD_ASSIGN(const Value test, evaluate(*node.test));
  if (test.truthy()) return evaluate(*node.then);
  if (node.otherwise) return evaluate(*node.otherwise);
  return Value::undefined("the inline if-expression evaluated to false and has no else");
}

Result<Value> Interpreter::evaluate_node(const Attribute& node) {
  TETRAD_ASSIGN(const Value object, evaluate(*node.object));
  return get_attribute(object, node.name);
}

Result<Value> Interpreter::evaluate_node(const Subscript& node) {
  TETRAD_ASSIGN(const Value object, evaluate(*node.object));
  TETRAD_ASSIGN(const Value index, evaluate(*node.index));
  return get_item(object, index, budget_);
}

Result<Value> Interpreter::evaluate_node(const Slice& node) {
  TETRAD_ASSIGN(const Value object, evaluate(*node.object));
  SliceBounds bounds;
  const auto bound = [&](const ExpressionPtr& expression,
                         std::optional<Value>& value) -> Result<void> {
    if (!expression) return {};
    TETRAD_ASSIGN(value, evaluate(*expression));
    return {};
  };
  TETRAD_TRY(bound(node.start, bounds.start));
  TETRAD_TRY(bound(node.stop, bounds.stop));
  TETRAD_TRY(bound(node.step, bounds.step));
  return get_slice(object, bounds, budget_);
}

Result<Arguments> Interpreter::evaluate_arguments(const CallArguments& arguments) {
  Arguments result;
  TETRAD_ASSIGN(result.positional, evaluate_all(arguments.positional));
  for (const auto& [name, expression] : arguments.keyword) {
    TETRAD_ASSIGN(Value value, evaluate(*expression));
    result.keyword.emplace_back(name, std::move(value));
  }
  if (arguments.star) {
    TETRAD_ASSIGN(const Value values, evaluate(*arguments.star));
    TETRAD_ASSIGN(const std::vector<Value> items, collect(values, budget_));
    result.positional.insert(result.positional.end(), items.begin(), items.end());
  }
  if (!arguments.star_star) return result;
  TETRAD_ASSIGN(const Value names, evaluate(*arguments.star_star));
  if (!names.is_dict()) {
    return fail(ErrorCode::invalid_argument, "the argument after ** must be a mapping, not {}",
                names.type_name());
  }
  for (const auto& [key, value] : names.as_dict().entries()) {
    TETRAD_TRY(budget_.spend(static_cast<int64_t>(result.keyword.size())));
    if (!key.is_string()) return fail(ErrorCode::invalid_argument, "keywords must be strings");
    if (result.find_keyword(key.bytes()) != nullptr) {
      return fail(ErrorCode::invalid_argument, "got multiple values for keyword argument '{}'",
                  key.bytes());
    }
    result.keyword.emplace_back(key.bytes(), value);
  }
  return result;
}

/// `caller`: what a call block hands to the macro it calls; null for ordinary calls.
Result<Value> Interpreter::evaluate_call(const Call& node, const Value* caller) {
  TETRAD_ASSIGN(const Value callee, evaluate(*node.callee));
  TETRAD_ASSIGN(Arguments arguments, evaluate_arguments(node.arguments));
  if (caller != nullptr) {
    if (arguments.find_keyword("caller") != nullptr) {
      return fail(ErrorCode::invalid_argument, "a call block's call may not pass 'caller' itself");
    }
    arguments.keyword.emplace_back("caller", *caller);
  }
  return call(callee, arguments);
}

Result<Value> Interpreter::evaluate_node(const Call& node) {
  return evaluate_call(node, nullptr);
}

Result<Value> Interpreter::call_named(const NamedCall& named, std::string_view what,
                                      const Value& subject) {
  if (named.function == nullptr) {
    return fail(ErrorCode::invalid_argument, "there is no {} named '{}'", what, named.name);
  }
  TETRAD_ASSIGN(const Arguments arguments, evaluate_arguments(named.arguments));
  return named.function(*this, subject, arguments);
}

Result<Value> Interpreter::evaluate_node(const Filtered& node) {
  TETRAD_ASSIGN(const Value subject, evaluate(*node.subject));
  return call_named(node.filter, "filter", subject);
}

Result<Value> Interpreter::evaluate_node(const Tested& node) {
  TETRAD_ASSIGN(const Value subject, evaluate(*node.subject));
  return call_named(node.test, "test", subject);
}

}  // namespace tetrad::jinja
