#pragma once

#include <memory>

#include "chat/jinja/ast.h"
#include "chat/jinja/object.h"
#include "chat/jinja/scope.h"

namespace tetrad::jinja {

/// A macro, or the `caller` of a call block, as a value. It does not keep the scope it was defined
/// in alive, because that scope holds the macro.
class MacroObject final : public Object {
 public:
  MacroObject(const MacroDefinition& definition, std::weak_ptr<const Scope> scope)
      : definition_(&definition), scope_(std::move(scope)) {}

  std::string_view type_name() const override { return "Macro"; }
  Result<void> append_repr(ReprWriter& writer) const override;
  Result<std::optional<Value>> attribute(const Value& self, std::string_view name) override;
  bool is_callable() const override { return true; }
  Result<Value> call(Interpreter& interpreter, const Arguments& arguments) override;

 private:
  const MacroDefinition* definition_;
  std::weak_ptr<const Scope> scope_;
};

}  // namespace tetrad::jinja
