#include "chat/jinja/loop_context.h"

#include <array>

#include "chat/jinja/arguments.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/operators.h"

namespace tetrad::jinja {
namespace {

Result<Value> cycle_method(Interpreter&, const Value& self, const Arguments& arguments) {
  TETRAD_TRY(no_keywords("cycle", arguments));
  return static_cast<LoopContext&>(self.as_object()).cycle(arguments.positional);
}

Result<Value> changed_method(Interpreter&, const Value& self, const Arguments& arguments) {
  TETRAD_TRY(no_keywords("changed", arguments));
  return static_cast<LoopContext&>(self.as_object()).changed(arguments.positional);
}

constexpr std::array<NamedFunction, 2> kMethods = {{
    {"cycle", cycle_method},
    {"changed", changed_method},
}};

}  // namespace

/// The next item of the source, from the buffer first.
Result<std::optional<Value>> LoopContext::pull() {
  if (!ahead_.empty()) {
    std::optional<Value> item = std::move(ahead_.front());
    ahead_.pop_front();
    return item;
  }
  if (items_ == nullptr) return std::nullopt;
  return items_->next();
}

Result<const std::optional<Value>*> LoopContext::peek() {
  if (!peeked_) {
    TETRAD_ASSIGN(peeked_, pull());
  }
  return &peeked_;
}

Result<std::optional<Value>> LoopContext::advance() {
  std::optional<Value> item = std::move(peeked_);
  peeked_.reset();
  if (!item) {
    TETRAD_ASSIGN(item, pull());
  }
  if (!item) return std::nullopt;
  ++index0_;
  previous_ = std::move(current_);
  current_ = item;
  return item;
}

void LoopContext::finish() {
  items_.reset();
  ahead_.clear();
  peeked_.reset();
  previous_.reset();
  current_.reset();
  last_changed_.reset();
}

Result<int64_t> LoopContext::known_length() {
  if (length_) return *length_;
  for (;;) {
    TETRAD_TRY(budget_->spend());
    if (items_ == nullptr) break;
    TETRAD_ASSIGN(auto item, items_->next());
    if (!item) break;
    ahead_.push_back(std::move(*item));
  }
  length_ = static_cast<int64_t>(ahead_.size()) + index0_ + 1 + (peeked_ ? 1 : 0);
  return *length_;
}

Result<std::optional<int64_t>> LoopContext::length() {
  TETRAD_ASSIGN(const int64_t length, known_length());
  return length;
}

Result<std::optional<Value>> LoopContext::attribute(const Value& self, std::string_view name) {
  if (name == "index") return Value::integer(index0_ + 1);
  if (name == "index0") return Value::integer(index0_);
  if (name == "first") return Value::boolean(index0_ == 0);
  if (name == "depth") return Value::integer(1);
  if (name == "depth0") return Value::integer(0);
  if (name == "last" || name == "nextitem") {
    TETRAD_ASSIGN(const auto* next, peek());
    if (name == "last") return Value::boolean(!next->has_value());
    return *next ? **next : Value::undefined("there is no next item");
  }
  if (name == "previtem") {
    if (index0_ == 0 || !previous_) return Value::undefined("there is no previous item");
    return *previous_;
  }
  if (name == "length" || name == "revindex" || name == "revindex0") {
    TETRAD_ASSIGN(const int64_t length, known_length());
    const int64_t passed = name == "length" ? 0 : name == "revindex" ? index0_ : index0_ + 1;
    return Value::integer(length - passed);
  }
  return bind_method(kMethods, self, name);
}

Result<Value> LoopContext::cycle(const std::vector<Value>& values) const {
  if (values.empty()) return fail(ErrorCode::invalid_argument, "no items for cycling given");
  return values[static_cast<size_t>(index0_) % values.size()];
}

Result<Value> LoopContext::changed(const std::vector<Value>& values) {
  bool same = last_changed_ && last_changed_->size() == values.size();
  for (size_t i = 0; same && i < values.size(); ++i) {
    TETRAD_ASSIGN(same, equals((*last_changed_)[i], values[i], *budget_));
  }
  if (!same) last_changed_ = values;
  return Value::boolean(!same);
}

}  // namespace tetrad::jinja
