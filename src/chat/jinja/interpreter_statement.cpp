#include "chat/jinja/arguments.h"
#include "chat/jinja/interpreter_scope.h"
#include "chat/jinja/iteration.h"
#include "chat/jinja/loop_context.h"
#include "chat/jinja/macro.h"
#include "chat/jinja/python_text.h"

namespace tetrad::jinja {

Result<Interpreter::Flow> Interpreter::execute(const Body& body) {
  for (const Statement& statement : body) {
    TETRAD_ASSIGN(const Flow flow, execute(statement));
    if (flow != Flow::next) return flow;
  }
  return Flow::next;
}

Result<Interpreter::Flow> Interpreter::execute(const Statement& statement) {
  if (auto entered = enter(); !entered) {
    return tl::unexpected<Error>(at_line(std::move(entered.error()), statement.line));
  }
  auto result = std::visit([&](const auto& node) { return run_statement(node); }, statement.node);
  leave();
  if (!result) return tl::unexpected<Error>(at_line(std::move(result.error()), statement.line));
  return result;
}

Result<Interpreter::Flow> Interpreter::run_statement(const Text& text) {
  TETRAD_TRY(budget_.spend_append(output_.size(), text.text.size()));
  output_ += text.text;
  return Flow::next;
}

Result<Interpreter::Flow> Interpreter::run_statement(const Output& output) {
  for (const ExpressionPtr& expression : output.expressions) {
    TETRAD_ASSIGN(const Value value, evaluate(*expression));
    TETRAD_TRY(append_text(output_, value, budget_));
  }
  return Flow::next;
}

Result<Interpreter::Flow> Interpreter::run_statement(const If& statement) {
  for (const If::Branch& branch : statement.branches) {
    if (branch.test) {
      TETRAD_ASSIGN(const Value test, evaluate(*branch.test));
      if (!test.truthy()) continue;
    }
    return execute(branch.body);
  }
  return Flow::next;
}

/// The items of a loop, without those that its `if` leaves out.
Result<std::shared_ptr<Iterator>> Interpreter::loop_items(const For& loop) {
  TETRAD_ASSIGN(const Value iterable, evaluate(*loop.iterable));
  TETRAD_ASSIGN(auto source, iterate(iterable));
  if (!loop.filter) return source;
  // Lazily: the filter may look at what earlier iterations have changed.
  auto next = [this, &loop, source, outer = scope_]() -> Result<std::optional<Value>> {
    for (;;) {
      TETRAD_TRY(budget_.spend());
      TETRAD_ASSIGN(auto item, source->next());
      if (!item) return std::nullopt;
      const InnerScope inner(*this, outer);
      TETRAD_TRY(assign(loop.target, *item));
      TETRAD_ASSIGN(const Value keep, evaluate(*loop.filter));
      if (keep.truthy()) return item;
    }
  };
  return std::make_shared<FunctionIterator>(std::move(next), 1);
}

Result<Interpreter::Flow> Interpreter::run_statement(const For& loop) {
  TETRAD_ASSIGN(auto items, loop_items(loop));
  const auto context = std::make_shared<LoopContext>(std::move(items), budget_);
  // However the loop ends, its object lets go of the items.
  const auto finish = [](LoopContext* over) { over->finish(); };
  const std::unique_ptr<LoopContext, decltype(finish)> finisher(context.get(), finish);

  // As in Jinja: `else` runs if no iteration came to the end of its body.
  bool completed_one = false;
  for (;;) {
    TETRAD_TRY(budget_.spend());
    TETRAD_ASSIGN(const auto item, context->advance());
    if (!item) break;
    const InnerScope inner(*this);
    scope_->set("loop", Value::object(context));
    TETRAD_TRY(assign(loop.target, *item));
    TETRAD_ASSIGN(const Flow flow, execute(loop.body));
    if (flow == Flow::break_loop) break;
    completed_one = completed_one || flow == Flow::next;
  }
  if (completed_one || loop.otherwise.empty()) return Flow::next;
  const InnerScope inner(*this);
  return execute(loop.otherwise);
}

Result<Interpreter::Flow> Interpreter::run_statement(const Set& statement) {
  TETRAD_ASSIGN(const Value value, evaluate(*statement.value));
  TETRAD_TRY(assign(statement.target, value));
  return Flow::next;
}

Result<Value> Interpreter::apply_chain(const std::vector<NamedCall>& filters, Value subject) {
  for (const NamedCall& filter : filters) {
    TETRAD_ASSIGN(subject, call_named(filter, "filter", subject));
  }
  return subject;
}

Result<Interpreter::Flow> Interpreter::run_statement(const SetBlock& statement) {
  Value value;
  {
    const InnerScope inner(*this);
    Capture capture(*this);
    TETRAD_ASSIGN(const Flow flow, execute(statement.body));
    if (flow != Flow::next) return flow;
    TETRAD_ASSIGN(value, apply_chain(statement.filters, capture.take()));
  }
  TETRAD_TRY(assign(statement.target, value));
  return Flow::next;
}

Result<Interpreter::Flow> Interpreter::run_statement(const FilterBlock& statement) {
  Value value;
  {
    const InnerScope inner(*this);
    Capture capture(*this);
    TETRAD_ASSIGN(const Flow flow, execute(statement.body));
    if (flow != Flow::next) return flow;
    TETRAD_ASSIGN(value, apply_chain(statement.filters, capture.take()));
  }
  TETRAD_TRY(append_text(output_, value, budget_));
  return Flow::next;
}

Value Interpreter::make_macro(const MacroDefinition& definition) {
  return Value::object(std::make_shared<MacroObject>(definition, scope_));
}

Result<Interpreter::Flow> Interpreter::run_statement(const Macro& statement) {
  scope_->set(statement.definition.name, make_macro(statement.definition));
  return Flow::next;
}

Result<Interpreter::Flow> Interpreter::run_statement(const CallBlock& statement) {
  const Value caller = make_macro(statement.caller);
  TETRAD_ASSIGN(const Value text, evaluate_call(std::get<Call>(statement.call->node), &caller));
  TETRAD_TRY(append_text(output_, text, budget_));
  return Flow::next;
}

Result<Interpreter::Flow> Interpreter::run_statement(const With& statement) {
  const std::shared_ptr<Scope> outer = scope_;
  const InnerScope inner(*this);
  const std::shared_ptr<Scope> own = scope_;
  for (const auto& [target, expression] : statement.variables) {
    scope_ = outer;  // the values do not see each other's variables
    auto value = evaluate(*expression);
    scope_ = own;
    if (!value) return tl::unexpected<Error>(std::move(value.error()));
    TETRAD_TRY(assign(target, *value));
  }
  return execute(statement.body);
}

Result<Interpreter::Flow> Interpreter::run_statement(const Generation& statement) {
  const InnerScope inner(*this);
  return execute(statement.body);
}

Result<Interpreter::Flow> Interpreter::run_statement(const Break&) {
  return Flow::break_loop;
}

Result<Interpreter::Flow> Interpreter::run_statement(const Continue&) {
  return Flow::continue_loop;
}

Result<void> Interpreter::assign(const Target& target, const Value& value) {
  return std::visit([&](const auto& kind) { return assign_kind(kind, value); }, target.kind);
}

Result<void> Interpreter::assign_kind(const Target::Variable& target, const Value& value) {
  scope_->set(target.name, value);
  return {};
}

Result<void> Interpreter::assign_kind(const Target::NamespaceAttribute& target,
                                      const Value& value) {
  const Value* found = scope_->find(target.name);
  Namespace* object = found != nullptr && found->is_object()
                          ? dynamic_cast<Namespace*>(&found->as_object())
                          : nullptr;
  if (object == nullptr) {
    return fail(ErrorCode::invalid_argument, "cannot assign to '{}.{}': '{}' is not a namespace",
                target.name, target.attribute, target.name);
  }
  return object->set(target.attribute, value, budget_);
}

Result<void> Interpreter::assign_kind(const Target::Unpacked& target, const Value& value) {
  TETRAD_ASSIGN(const auto items, iterate(value));
  for (const Target& part : target.targets) {
    TETRAD_ASSIGN(const auto item, items->next());
    if (!item) {
      return fail(ErrorCode::invalid_argument, "not enough values to unpack (expected {})",
                  target.targets.size());
    }
    TETRAD_TRY(assign(part, *item));
  }
  TETRAD_ASSIGN(const auto surplus, items->next());
  if (!surplus) return {};
  return fail(ErrorCode::invalid_argument, "too many values to unpack (expected {})",
              target.targets.size());
}

/// Binds the arguments of a call in the macro's own scope, as Jinja does: what is left over goes
/// to varargs and kwargs if the macro mentions them, and is an error otherwise.
Result<void> Interpreter::bind_parameters(const MacroDefinition& macro,
                                          const Arguments& arguments) {
  std::vector<std::pair<std::string, Value>> keyword = arguments.keyword;
  const auto take_keyword = [&](std::string_view name) -> std::optional<Value> {
    for (auto entry = keyword.begin(); entry != keyword.end(); ++entry) {
      if (entry->first != name) continue;
      Value value = std::move(entry->second);
      keyword.erase(entry);
      return value;
    }
    return std::nullopt;
  };
  std::vector<const MacroDefinition::Parameter*> absent;
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const auto& parameter = macro.parameters[i];
    std::optional<Value> value;
    if (i < arguments.positional.size()) {
      value = arguments.positional[i];
    } else {
      value = take_keyword(parameter.name);
    }
    if (!value) absent.push_back(&parameter);
    scope_->set(parameter.name,
                value ? std::move(*value)
                      : Value::undefined("parameter '" + parameter.name + "' was not provided"));
  }
  if (macro.uses_caller) {
    const auto caller = take_keyword("caller");
    scope_->set("caller",
                caller && !caller->is_none() ? *caller : Value::undefined("No caller defined"));
  }
  if (macro.uses_kwargs) {
    Dict rest;
    for (auto& [name, value] : keyword) {
      TETRAD_TRY(rest.insert(Value::string(name), std::move(value), budget_));
    }
    TETRAD_ASSIGN(Value kwargs, Value::dict(std::move(rest), budget_));
    scope_->set("kwargs", std::move(kwargs));
  } else if (!keyword.empty()) {
    return fail(ErrorCode::invalid_argument, "macro '{}' takes no keyword argument '{}'",
                macro.name, keyword.front().first);
  }
  const size_t surplus_from = std::min(macro.parameters.size(), arguments.positional.size());
  if (macro.uses_varargs) {
    TETRAD_ASSIGN(Value varargs,
                  Value::tuple({arguments.positional.begin() + static_cast<int64_t>(surplus_from),
                                arguments.positional.end()},
                               budget_));
    scope_->set("varargs", std::move(varargs));
  } else if (surplus_from < arguments.positional.size()) {
    return fail(ErrorCode::invalid_argument, "macro '{}' takes not more than {} argument(s)",
                macro.name, macro.parameters.size());
  }
  for (const auto* parameter : absent) {
    if (!parameter->fallback) continue;
    TETRAD_ASSIGN(Value value, evaluate(*parameter->fallback));
    scope_->set(parameter->name, std::move(value));
  }
  return {};
}

Result<Value> Interpreter::call_macro(const MacroDefinition& macro,
                                      std::shared_ptr<const Scope> scope,
                                      const Arguments& arguments) {
  const InnerScope inner(*this, std::move(scope));
  Capture capture(*this);
  TETRAD_TRY(bind_parameters(macro, arguments));
  TETRAD_TRY(execute(macro.body));
  return capture.take();
}

}  // namespace tetrad::jinja
