#pragma once

// Values with behaviour: what can be called, iterated once, or changes over time.

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/jinja/value.h"

namespace tetrad::jinja {

class Interpreter;
class Iterator;
class ReprWriter;

/// The arguments of a call, evaluated.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;

  const Value* find_keyword(std::string_view name) const;
};

/// A filter, a test, or a method: a function of a subject and further arguments.
using Function = Result<Value> (*)(Interpreter&, const Value& subject, const Arguments&);

struct NamedFunction {
  std::string_view name;
  Function function;
};

/// The function of that name in a table, or null.
Function find_function(std::span<const NamedFunction> table, std::string_view name);

class Object {
 public:
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;

  virtual std::string_view type_name() const = 0;
  virtual Result<void> append_repr(ReprWriter& writer) const;
  /// An attribute or bound method; nothing if there is none of that name.
  virtual Result<std::optional<Value>> attribute(const Value& self, std::string_view name);
  virtual bool is_callable() const { return false; }
  virtual Result<Value> call(Interpreter& interpreter, const Arguments& arguments);
  /// Null if it cannot be iterated.
  virtual std::shared_ptr<Iterator> iterate(const Value& self);
  /// Elements in reverse, for objects that know them; nothing otherwise.
  virtual std::optional<std::vector<Value>> reversed() const { return std::nullopt; }
  /// Nothing if it has no length.
  virtual Result<std::optional<int64_t>> length() { return std::nullopt; }
  virtual bool truthy() const { return true; }
  virtual int depth() const { return 1; }
};

/// Yields values one by one; can be used up only once.
class Iterator : public Object {
 public:
  std::string_view type_name() const override { return "generator"; }
  std::shared_ptr<Iterator> iterate(const Value& self) override;

  /// The next value; nothing at the end, and ever after.
  virtual Result<std::optional<Value>> next() = 0;
};

/// An iterator made of a function; `depth` is that of the values the function holds.
class FunctionIterator final : public Iterator {
 public:
  using Next = std::function<Result<std::optional<Value>>()>;
  /// Refuses nesting beyond kMaxValueDepth: a chain of iterators is walked recursively.
  static Result<Value> make(Next next, int depth);

  FunctionIterator(Next next, int depth) : next_(std::move(next)), depth_(depth) {}
  Result<std::optional<Value>> next() override { return next_(); }
  int depth() const override { return depth_; }

 private:
  Next next_;
  int depth_;
};

/// A method together with the value it belongs to.
class BoundMethod final : public Object {
 public:
  BoundMethod(Value self, std::string_view name, Function function)
      : self_(std::move(self)), name_(name), function_(function) {}

  std::string_view type_name() const override { return "builtin_function_or_method"; }
  Result<void> append_repr(ReprWriter& writer) const override;
  bool is_callable() const override { return true; }
  Result<Value> call(Interpreter& interpreter, const Arguments& arguments) override;
  int depth() const override { return self_.depth() + 1; }

 private:
  Value self_;
  std::string_view name_;
  Function function_;
};

/// The method of that name from a table, bound to `self`.
std::optional<Value> bind_method(std::span<const NamedFunction> table, const Value& self,
                                 std::string_view name);

/// A global function.
class BuiltinFunction final : public Object {
 public:
  BuiltinFunction(std::string_view name, Function function) : name_(name), function_(function) {}

  std::string_view type_name() const override { return "function"; }
  Result<void> append_repr(ReprWriter& writer) const override;
  bool is_callable() const override { return true; }
  Result<Value> call(Interpreter& interpreter, const Arguments& arguments) override;

 private:
  std::string_view name_;
  Function function_;
};

/// namespace(): the one thing a template can change.
class Namespace final : public Object {
 public:
  explicit Namespace(Dict attributes) : attributes_(std::move(attributes)) {}

  std::string_view type_name() const override { return "Namespace"; }
  Result<void> append_repr(ReprWriter& writer) const override;
  Result<std::optional<Value>> attribute(const Value& self, std::string_view name) override;
  Result<void> set(std::string_view name, Value value, Budget& budget);
  /// Breaks reference cycles (a namespace may contain itself).
  void clear() { attributes_ = Dict(); }

 private:
  Dict attributes_;
};

}  // namespace tetrad::jinja
