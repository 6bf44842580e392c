#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "chat/jinja/object.h"

namespace tetrad::jinja {

/// The variable `loop` inside a for block. It looks ahead only when asked for what lies ahead
/// (`loop.last`, `loop.nextitem`, `loop.length`), because looking ahead can run template code.
class LoopContext final : public Object {
 public:
  LoopContext(std::shared_ptr<Iterator> items, Budget& budget)
      : items_(std::move(items)), budget_(&budget) {}

  /// To the next iteration: its item, or nothing at the end.
  Result<std::optional<Value>> advance();
  /// Lets go of all items: the loop is over, but a template may have stored this object in one.
  void finish();

  std::string_view type_name() const override { return "LoopContext"; }
  Result<std::optional<Value>> attribute(const Value& self, std::string_view name) override;
  Result<std::optional<int64_t>> length() override;
  int depth() const override { return 1; }

  // Methods of the template.
  Result<Value> cycle(const std::vector<Value>& values) const;
  Result<Value> changed(const std::vector<Value>& values);

 private:
  Result<std::optional<Value>> pull();
  Result<const std::optional<Value>*> peek();
  Result<int64_t> known_length();

  std::shared_ptr<Iterator> items_;
  std::optional<int64_t> length_;
  Budget* budget_;
  std::deque<Value> ahead_;
  std::optional<Value> peeked_;
  std::optional<Value> previous_;
  std::optional<Value> current_;
  std::optional<std::vector<Value>> last_changed_;
  int64_t index0_ = -1;
};

}  // namespace tetrad::jinja
