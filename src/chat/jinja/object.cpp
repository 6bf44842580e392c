#include "chat/jinja/object.h"

#include <algorithm>

#include "chat/jinja/python_text.h"

namespace tetrad::jinja {

const Value* Arguments::find_keyword(std::string_view name) const {
  for (const auto& [keyword_name, value] : keyword) {
    if (keyword_name == name) return &value;
  }
  return nullptr;
}

Function find_function(std::span<const NamedFunction> table, std::string_view name) {
  const auto* const found = std::find_if(table.data(), table.data() + table.size(),
                                         [&](const auto& entry) { return entry.name == name; });
  return found == table.data() + table.size() ? nullptr : found->function;
}

Result<void> Object::append_repr(ReprWriter& writer) const {
  return writer.append_all("<", type_name(), " object>");
}

Result<std::optional<Value>> Object::attribute(const Value&, std::string_view) {
  return std::nullopt;
}

Result<Value> Object::call(Interpreter&, const Arguments&) {
  return fail(ErrorCode::invalid_argument, "'{}' object is not callable", type_name());
}

std::shared_ptr<Iterator> Object::iterate(const Value&) {
  return nullptr;
}

std::shared_ptr<Iterator> Iterator::iterate(const Value& self) {
  return std::static_pointer_cast<Iterator>(self.object_ref());
}

Result<Value> FunctionIterator::make(Next next, int depth) {
  if (depth > kMaxValueDepth) {
    return fail(ErrorCode::resource_exhausted, "iterators are nested more than {} deep",
                kMaxValueDepth);
  }
  return Value::object(std::make_shared<FunctionIterator>(std::move(next), depth));
}

Result<void> BoundMethod::append_repr(ReprWriter& writer) const {
  return writer.append_all("<built-in method ", name_, " of ", self_.type_name(), " object>");
}

Result<Value> BoundMethod::call(Interpreter& interpreter, const Arguments& arguments) {
  return function_(interpreter, self_, arguments);
}

std::optional<Value> bind_method(std::span<const NamedFunction> table, const Value& self,
                                 std::string_view name) {
  for (const NamedFunction& entry : table) {
    if (entry.name != name) continue;
    return Value::object(std::make_shared<BoundMethod>(self, entry.name, entry.function));
  }
  return std::nullopt;
}

Result<void> BuiltinFunction::append_repr(ReprWriter& writer) const {
  return writer.append_all("<function ", name_, ">");
}

Result<Value> BuiltinFunction::call(Interpreter& interpreter, const Arguments& arguments) {
  return function_(interpreter, Value(), arguments);
}

Result<void> Namespace::append_repr(ReprWriter& writer) const {
  TETRAD_TRY(writer.append_all("<Namespace "));
  TETRAD_TRY(writer.append_dict(attributes_));
  return writer.append_all(">");
}

Result<std::optional<Value>> Namespace::attribute(const Value&, std::string_view name) {
  const Value* found = attributes_.find(name);
  if (found == nullptr) return std::nullopt;
  return *found;
}

Result<void> Namespace::set(std::string_view name, Value value, Budget& budget) {
  return attributes_.insert(Value::string(std::string(name)), std::move(value), budget);
}

}  // namespace tetrad::jinja
