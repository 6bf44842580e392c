#pragma once

#include <memory>
#include <string>
#include <utility>

#include "chat/jinja/interpreter.h"

namespace tetrad::jinja {

/// A scope of its own for what runs while this exists.
class Interpreter::InnerScope {
 public:
  explicit InnerScope(Interpreter& interpreter) : InnerScope(interpreter, interpreter.scope_) {}
  InnerScope(Interpreter& interpreter, std::shared_ptr<const Scope> parent)
      : interpreter_(&interpreter), outer_(std::move(interpreter.scope_)) {
    interpreter.scope_ = std::make_shared<Scope>(std::move(parent));
  }
  InnerScope(const InnerScope&) = delete;
  InnerScope& operator=(const InnerScope&) = delete;
  ~InnerScope() { interpreter_->scope_ = std::move(outer_); }

 private:
  Interpreter* interpreter_;
  std::shared_ptr<Scope> outer_;
};

/// Collects what is written while this exists, instead of the output.
class Interpreter::Capture {
 public:
  explicit Capture(Interpreter& interpreter)
      : interpreter_(&interpreter), outer_(std::exchange(interpreter.output_, std::string())) {}
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  ~Capture() { interpreter_->output_ = std::move(outer_); }

  Value take() { return Value::string(std::exchange(interpreter_->output_, std::string())); }

 private:
  Interpreter* interpreter_;
  std::string outer_;
};

}  // namespace tetrad::jinja
