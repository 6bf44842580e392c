#pragma once

#include "chat/jinja/object.h"

namespace tetrad::jinja {

/// What dict.keys(), .values() and .items() return.
class DictView final : public Object {
 public:
  enum class Part : uint8_t { keys, values, items };

  DictView(Value dict, Part part) : dict_(std::move(dict)), part_(part) {}

  std::string_view type_name() const override;
  Result<void> append_repr(ReprWriter& writer) const override;
  std::shared_ptr<Iterator> iterate(const Value& self) override;
  std::optional<std::vector<Value>> reversed() const override;
  Result<std::optional<int64_t>> length() override {
    return static_cast<int64_t>(dict_.as_dict().size());
  }
  bool truthy() const override { return dict_.truthy(); }
  int depth() const override { return dict_.depth() + 1; }

  /// One element of the view.
  Value element(size_t index) const;
  size_t size() const { return dict_.as_dict().size(); }

 private:
  Value dict_;
  Part part_;
};

}  // namespace tetrad::jinja
