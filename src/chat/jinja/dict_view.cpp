#include "chat/jinja/dict_view.h"

#include "chat/jinja/python_text.h"

namespace tetrad::jinja {
namespace {

class ViewIterator final : public Iterator {
 public:
  explicit ViewIterator(Value view) : view_(std::move(view)) {}

  Result<std::optional<Value>> next() override {
    const auto& view = static_cast<const DictView&>(view_.as_object());
    if (index_ >= view.size()) return std::nullopt;
    return view.element(index_++);
  }
  int depth() const override { return view_.depth() + 1; }

 private:
  Value view_;
  size_t index_ = 0;
};

}  // namespace

std::string_view DictView::type_name() const {
  switch (part_) {
    case Part::keys:
      return "dict_keys";
    case Part::values:
      return "dict_values";
    case Part::items:
      return "dict_items";
  }
  return "dict_items";
}

Value DictView::element(size_t index) const {
  const Dict::Entry& entry = dict_.as_dict().entries()[index];
  switch (part_) {
    case Part::keys:
      return entry.key;
    case Part::values:
      return entry.value;
    case Part::items:
      break;
  }
  return Value::pair(entry.key, entry.value);
}

Result<void> DictView::append_repr(ReprWriter& writer) const {
  std::vector<Value> elements;
  elements.reserve(size());
  for (size_t i = 0; i < size(); ++i)
    elements.push_back(element(i));
  TETRAD_TRY(writer.append_all(type_name(), "("));
  TETRAD_TRY(writer.append_list(elements));
  return writer.append(")");
}

std::shared_ptr<Iterator> DictView::iterate(const Value& self) {
  return std::make_shared<ViewIterator>(self);
}

std::optional<std::vector<Value>> DictView::reversed() const {
  std::vector<Value> elements;
  elements.reserve(size());
  for (size_t i = size(); i-- > 0;)
    elements.push_back(element(i));
  return elements;
}

}  // namespace tetrad::jinja
