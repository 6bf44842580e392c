#include "chat/jinja/macro.h"

#include "chat/jinja/interpreter.h"
#include "chat/jinja/python_text.h"

namespace tetrad::jinja {

Result<void> MacroObject::append_repr(ReprWriter& writer) const {
  if (definition_->name.empty()) return writer.append("<Macro anonymous>");
  return writer.append_all("<Macro '", definition_->name, "'>");
}

Result<std::optional<Value>> MacroObject::attribute(const Value&, std::string_view name) {
  if (name == "name") {
    return definition_->name.empty() ? Value::none() : Value::string(definition_->name);
  }
  if (name == "catch_kwargs") return Value::boolean(definition_->uses_kwargs);
  if (name == "catch_varargs") return Value::boolean(definition_->uses_varargs);
  if (name == "caller") return Value::boolean(definition_->uses_caller);
  return std::nullopt;
}

Result<Value> MacroObject::call(Interpreter& interpreter, const Arguments& arguments) {
  auto scope = scope_.lock();
  if (scope == nullptr) {
    return fail(ErrorCode::invalid_argument, "the macro '{}' is called after its block has ended",
                definition_->name);
  }
  return interpreter.call_macro(*definition_, std::move(scope), arguments);
}

}  // namespace tetrad::jinja
