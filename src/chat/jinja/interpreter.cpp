#include "chat/jinja/interpreter.h"

#include "chat/jinja/filters.h"
#include "chat/jinja/globals.h"
#include "chat/jinja/tests.h"

namespace tetrad::jinja {

Interpreter::Interpreter(const TemplateLimits& limits, std::chrono::system_clock::time_point now)
    : limits_(limits),
      budget_(limits.max_steps, limits.max_output_bytes),
      now_(now),
      context_(std::make_shared<Scope>(global_scope())),
      scope_(std::make_shared<Scope>(context_)) {}

Interpreter::~Interpreter() {
  for (const auto& object : namespaces_)
    object->clear();
}

Result<std::string> Interpreter::run(const Program& program) {
  for (const std::string& name : program.initially_undefined) {
    scope_->set(name, Value::undefined("'" + name + "' is undefined"));
  }
  TETRAD_ASSIGN(const Flow flow, execute(program.body));
  if (flow != Flow::next) return fail(ErrorCode::internal, "a loop control left its loop");
  return std::move(output_);
}

Result<void> Interpreter::enter() {
  TETRAD_TRY(budget_.spend());
  if (depth_ >= limits_.max_depth) {
    return fail(ErrorCode::resource_exhausted,
                "macros and expressions are nested more than {} deep", limits_.max_depth);
  }
  ++depth_;
  return {};
}

Error Interpreter::at_line(Error error, int line) {
  if (error_has_line_) return error;
  error_has_line_ = true;
  return std::move(error).in(fmt::format("chat template line {}", line));
}

Error Interpreter::raised_by_template(std::string message) {
  error_has_line_ = true;
  return Error{ErrorCode::invalid_argument, std::move(message), ""};
}

Result<Value> Interpreter::call(const Value& callee, const Arguments& arguments) {
  if (callee.is_undefined()) return fail(ErrorCode::invalid_argument, "{}", callee.why_undefined());
  if (!callee.is_object()) {
    return fail(ErrorCode::invalid_argument, "'{}' object is not callable", callee.type_name());
  }
  return callee.as_object().call(*this, arguments);
}

Result<Value> Interpreter::apply_filter(std::string_view name, const Value& subject,
                                        const Arguments& arguments) {
  const Function function = find_filter(name);
  if (function == nullptr) {
    return fail(ErrorCode::invalid_argument, "there is no filter named '{}'", name);
  }
  return function(*this, subject, arguments);
}

Result<bool> Interpreter::apply_test(std::string_view name, const Value& subject,
                                     const Arguments& arguments) {
  const Function function = find_test(name);
  if (function == nullptr) {
    return fail(ErrorCode::invalid_argument, "there is no test named '{}'", name);
  }
  TETRAD_ASSIGN(const Value result, function(*this, subject, arguments));
  return result.truthy();
}

Result<Value> Interpreter::make_namespace(Dict attributes) {
  TETRAD_TRY(budget_.spend(static_cast<int64_t>(attributes.size()) + 1));
  namespaces_.push_back(std::make_shared<Namespace>(std::move(attributes)));
  return Value::object(namespaces_.back());
}

}  // namespace tetrad::jinja
