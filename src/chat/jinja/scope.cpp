#include "chat/jinja/scope.h"

namespace tetrad::jinja {

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent_.get()) {
    for (const auto& [variable, value] : scope->variables_) {
      if (variable == name) return &value;
    }
  }
  return nullptr;
}

void Scope::set(std::string_view name, Value value) {
  for (auto& [variable, old] : variables_) {
    if (variable == name) {
      old = std::move(value);
      return;
    }
  }
  variables_.emplace_back(name, std::move(value));
}

}  // namespace tetrad::jinja
