#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/jinja/value.h"

namespace tetrad::jinja {

/// The variables of a block. Names are views into the program or the context, which live longer.
class Scope {
 public:
  explicit Scope(std::shared_ptr<const Scope> parent) : parent_(std::move(parent)) {}

  /// The variable here or further out, or null.
  const Value* find(std::string_view name) const;
  /// Sets a variable here; one of the same name further out is hidden, not changed.
  void set(std::string_view name, Value value);

 private:
  std::vector<std::pair<std::string_view, Value>> variables_;
  std::shared_ptr<const Scope> parent_;
};

}  // namespace tetrad::jinja
