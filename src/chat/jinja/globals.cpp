#include "chat/jinja/globals.h"

#include <array>
#include <ctime>

#include "chat/jinja/arguments.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/iteration.h"
#include "chat/jinja/python_text.h"

namespace tetrad::jinja {
namespace {

Result<Value> range_function(Interpreter&, const Value&, const Arguments& arguments) {
  TETRAD_TRY(no_keywords("range", arguments));
  std::vector<Int> bounds;
  for (const Value& value : arguments.positional) {
    TETRAD_ASSIGN(const int64_t bound, integer_argument("an argument of range()", value));
    bounds.push_back(bound);
  }
  if (bounds.empty() || bounds.size() > 3) {
    return fail(ErrorCode::invalid_argument, "range() takes one to three arguments");
  }
  if (bounds.size() == 1) bounds.insert(bounds.begin(), 0);
  if (bounds.size() == 2) bounds.push_back(1);
  TETRAD_ASSIGN(const Range range, make_range(bounds[0], bounds[1], bounds[2]));
  return Value::range(range);
}

/// The pairs of a mapping, or of an iterable of pairs, and the keyword arguments.
Result<Dict> make_dict(Interpreter& interpreter, const Arguments& arguments) {
  Budget& budget = interpreter.budget();
  Dict dict;
  if (arguments.positional.size() > 1) {
    return fail(ErrorCode::invalid_argument, "dict expected at most 1 argument, got {}",
                arguments.positional.size());
  }
  if (!arguments.positional.empty() && arguments.positional[0].is_dict()) {
    dict = arguments.positional[0].as_dict();
  } else if (!arguments.positional.empty()) {
    TETRAD_ASSIGN(const std::vector<Value> pairs, collect(arguments.positional[0], budget));
    for (const Value& pair : pairs) {
      TETRAD_ASSIGN(const std::vector<Value> parts, collect(pair, budget));
      if (parts.size() != 2) {
        return fail(ErrorCode::invalid_argument, "a dictionary is made of pairs, not of {} values",
                    parts.size());
      }
      TETRAD_TRY(dict.insert(parts[0], parts[1], budget));
    }
  }
  for (const auto& [name, value] : arguments.keyword) {
    TETRAD_TRY(dict.insert(Value::string(name), value, budget));
  }
  return dict;
}

Result<Value> dict_function(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  TETRAD_ASSIGN(Dict dict, make_dict(interpreter, arguments));
  return Value::dict(std::move(dict), interpreter.budget());
}

Result<Value> namespace_function(Interpreter& interpreter, const Value&,
                                 const Arguments& arguments) {
  TETRAD_ASSIGN(Dict attributes, make_dict(interpreter, arguments));
  return interpreter.make_namespace(std::move(attributes));
}

Result<Value> raise_exception(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("raise_exception", arguments, {{"message", {}}}));
  TETRAD_ASSIGN(std::string message, to_text(args[0], interpreter.budget()));
  return tl::unexpected<Error>(interpreter.raised_by_template(std::move(message)));
}

Result<Value> strftime_now(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("strftime_now", arguments, {{"format", {}}}));
  TETRAD_ASSIGN(const std::string_view format, string_argument("the format", args[0]));
  constexpr size_t kMaxFormat = 1024;
  if (format.size() > kMaxFormat) {
    return fail(ErrorCode::invalid_argument, "strftime_now: the format is over {} bytes long",
                kMaxFormat);
  }
  const std::time_t seconds = std::chrono::system_clock::to_time_t(interpreter.now());
  std::tm local{};
  localtime_r(&seconds, &local);
  // A character in front tells an empty result from one that does not fit.
  const std::string padded = "." + std::string(format);
  std::string text(64 * kMaxFormat, '\0');
  const size_t size = std::strftime(text.data(), text.size(), padded.c_str(), &local);
  if (size == 0) return fail(ErrorCode::invalid_argument, "strftime_now: the result is too long");
  return Value::string(text.substr(1, size - 1), interpreter.budget());
}

/// cycler("odd", "even"): the next value each time.
class Cycler final : public Object {
 public:
  explicit Cycler(Value items) : items_(std::move(items)) {}

  std::string_view type_name() const override { return "Cycler"; }
  Result<std::optional<Value>> attribute(const Value& self, std::string_view name) override {
    if (name == "current") return items_.items()[position_];
    return bind_method(kMethods, self, name);
  }
  int depth() const override { return items_.depth() + 1; }

 private:
  static Result<Value> next(Interpreter&, const Value& self, const Arguments& arguments) {
    TETRAD_TRY(bind("next", arguments, {}));
    auto& cycler = static_cast<Cycler&>(self.as_object());
    Value item = cycler.items_.items()[cycler.position_];
    cycler.position_ = (cycler.position_ + 1) % cycler.items_.items().size();
    return item;
  }
  static Result<Value> reset(Interpreter&, const Value& self, const Arguments& arguments) {
    TETRAD_TRY(bind("reset", arguments, {}));
    static_cast<Cycler&>(self.as_object()).position_ = 0;
    return Value::none();
  }

  static constexpr std::array<NamedFunction, 2> kMethods = {{{"next", next}, {"reset", reset}}};

  Value items_;
  size_t position_ = 0;
};

Result<Value> cycler_function(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  TETRAD_TRY(no_keywords("cycler", arguments));
  if (arguments.positional.empty()) {
    return fail(ErrorCode::invalid_argument, "cycler: at least one item has to be provided");
  }
  TETRAD_ASSIGN(Value items, Value::tuple(arguments.positional, interpreter.budget()));
  return Value::object(std::make_shared<Cycler>(std::move(items)));
}

/// joiner(", "): nothing the first time, then the separator.
class Joiner final : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}

  std::string_view type_name() const override { return "Joiner"; }
  bool is_callable() const override { return true; }
  Result<Value> call(Interpreter&, const Arguments& arguments) override {
    TETRAD_TRY(bind("joiner", arguments, {}));
    if (std::exchange(used_, true)) return separator_;
    return Value::string("");
  }
  int depth() const override { return separator_.depth() + 1; }

 private:
  Value separator_;
  bool used_ = false;
};

Result<Value> joiner_function(Interpreter&, const Value&, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("joiner", arguments, {{"sep", Value::string(", ")}}));
  return Value::object(std::make_shared<Joiner>(args[0]));
}

constexpr std::array<NamedFunction, 7> kGlobals = {{
    {"range", range_function},
    {"dict", dict_function},
    {"namespace", namespace_function},
    {"cycler", cycler_function},
    {"joiner", joiner_function},
    {"raise_exception", raise_exception},
    {"strftime_now", strftime_now},
}};

}  // namespace

std::shared_ptr<const Scope> global_scope() {
  auto scope = std::make_shared<Scope>(nullptr);
  for (const auto& [name, function] : kGlobals) {
    scope->set(name, Value::object(std::make_shared<BuiltinFunction>(name, function)));
  }
  return scope;
}

}  // namespace tetrad::jinja
