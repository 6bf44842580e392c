#include "chat/jinja/iteration.h"

#include <algorithm>

#include "chat/jinja/operators.h"
#include "chat/jinja/unicode.h"

namespace tetrad::jinja {
namespace {

class ListIterator final : public Iterator {
 public:
  explicit ListIterator(Value list) : list_(std::move(list)) {}

  Result<std::optional<Value>> next() override {
    if (index_ >= list_.items().size()) return std::nullopt;
    return list_.items()[index_++];
  }
  int depth() const override { return list_.depth() + 1; }

 private:
  Value list_;
  size_t index_ = 0;
};

class StringIterator final : public Iterator {
 public:
  explicit StringIterator(Value text) : text_(std::move(text)) {}

  Result<std::optional<Value>> next() override {
    const std::string& bytes = text_.bytes();
    if (position_ >= bytes.size()) return std::nullopt;
    const size_t start = position_;
    decode_code_point(bytes, position_);
    return Value::string(bytes.substr(start, position_ - start));
  }

 private:
  Value text_;
  size_t position_ = 0;
};

class KeyIterator final : public Iterator {
 public:
  explicit KeyIterator(Value dict) : dict_(std::move(dict)) {}

  Result<std::optional<Value>> next() override {
    const auto& entries = dict_.as_dict().entries();
    if (index_ >= entries.size()) return std::nullopt;
    return entries[index_++].key;
  }
  int depth() const override { return dict_.depth() + 1; }

 private:
  Value dict_;
  size_t index_ = 0;
};

class RangeIterator final : public Iterator {
 public:
  explicit RangeIterator(const Range& range) : range_(range) {}

  Result<std::optional<Value>> next() override {
    if (index_ >= range_.length) return std::nullopt;
    return Value::integer(range_.at(index_++));
  }

 private:
  Range range_;
  int64_t index_ = 0;
};

class EmptyIterator final : public Iterator {
 public:
  Result<std::optional<Value>> next() override { return std::nullopt; }
};

tl::unexpected<Error> not_iterable(const Value& value) {
  return fail(ErrorCode::invalid_argument, "'{}' object is not iterable", value.type_name());
}

}  // namespace

Result<std::shared_ptr<Iterator>> iterate(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return std::make_shared<EmptyIterator>();
    case Kind::string:
      return std::make_shared<StringIterator>(value);
    case Kind::list:
    case Kind::tuple:
      return std::make_shared<ListIterator>(value);
    case Kind::dict:
      return std::make_shared<KeyIterator>(value);
    case Kind::range:
      return std::make_shared<RangeIterator>(value.as_range());
    case Kind::object:
      if (auto iterator = value.as_object().iterate(value)) return iterator;
      return not_iterable(value);
    default:
      return not_iterable(value);
  }
}

Result<std::vector<Value>> collect(const Value& value, Budget& budget) {
  if (value.is_sequence()) {
    TETRAD_TRY(budget.spend(static_cast<int64_t>(value.items().size())));
    return value.items();
  }
  TETRAD_ASSIGN(const auto iterator, iterate(value));
  std::vector<Value> items;
  for (;;) {
    TETRAD_TRY(budget.spend());
    TETRAD_ASSIGN(auto item, iterator->next());
    if (!item) return items;
    items.push_back(std::move(*item));
  }
}

Result<std::vector<Value>> collect_reversed(const Value& value, Budget& budget) {
  if (value.is_object()) {
    auto items = value.as_object().reversed();
    if (!items) {
      return fail(ErrorCode::invalid_argument, "'{}' object is not reversible", value.type_name());
    }
    TETRAD_TRY(budget.spend(static_cast<int64_t>(items->size())));
    return std::move(*items);
  }
  TETRAD_ASSIGN(std::vector<Value> items, collect(value, budget));
  std::reverse(items.begin(), items.end());
  return items;
}

Result<int64_t> length_of(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return 0;
    case Kind::string:
      return value.as_string().length;
    case Kind::list:
    case Kind::tuple:
      return static_cast<int64_t>(value.items().size());
    case Kind::dict:
      return static_cast<int64_t>(value.as_dict().size());
    case Kind::range:
      return value.as_range().length;
    case Kind::object: {
      TETRAD_ASSIGN(const auto length, value.as_object().length());
      if (length) return *length;
      break;
    }
    default:
      break;
  }
  return fail(ErrorCode::invalid_argument, "object of type '{}' has no len()", value.type_name());
}

Result<Range> make_range(Int start, Int stop, Int step) {
  if (step == 0) return fail(ErrorCode::invalid_argument, "range() arg 3 must not be zero");
  for (const Int bound : {start, stop, step}) {
    if (bound != static_cast<int64_t>(bound)) {
      return fail(ErrorCode::invalid_argument, "the bounds of a range must fit in 64 bits");
    }
  }
  const bool is_empty = step > 0 ? start >= stop : start <= stop;
  if (is_empty) return Range{start, stop, step, 0};
  // ceil(distance / step), both of one sign
  const Int distance = stop - start;
  Int count = distance / step;
  if (distance % step != 0) ++count;
  if (count > kMaxRangeLength) {
    return fail(ErrorCode::resource_exhausted, "a range may have at most {} elements",
                kMaxRangeLength);
  }
  return Range{start, stop, step, static_cast<int64_t>(count)};
}

}  // namespace tetrad::jinja
