#include "grammar/schema_arrays.h"

#include <algorithm>
#include <unordered_set>

#include "grammar/schema_keywords.h"
#include "grammar/schema_normalizer.h"
#include "grammar/schema_unevaluated.h"

namespace tetrad::grammar {
namespace {

/// What one conjunct says of items.
struct ItemRule {
  const json::value* schema = nullptr;  // where it comes from; null: a value, item by item
  const json::array* prefix = nullptr;
  const json::value* rest = nullptr;
  size_t first_rest = 0;  // the first item that `rest` is for

  bool is_for_rest(size_t index) const { return index >= first_rest; }
};

class ArrayReader {
 public:
  ArrayReader(const SchemaDocument& document, SchemaBudget& budget)
      : document_(document), budget_(budget) {}

  Result<ArrayShape> read(const Alternative& alternative) {
    for (const Term& term : alternative.terms) {
      if (term.kind == Term::Kind::equals) {
        const json::array& value = term.node->get_array();
        const auto size = static_cast<int64_t>(value.size());
        rules_.push_back({.prefix = &value, .first_rest = value.size()});
        narrow(size, size);
      } else if (term.kind == Term::Kind::not_equal && term.node->is_array()) {
        return document_.fail_at(*term.node, "",
                                 "can't be excluded: only strings, numbers, booleans and "
                                 "null can");
      } else if (term.kind == Term::Kind::keywords) {
        TETRAD_TRY(add_keywords(*term.node));
      } else if (term.kind == Term::Kind::violates) {
        TETRAD_ASSIGN(const int64_t count, present_count(document_, *term.node, term.key));
        if (term.key == "maxItems") narrow(count + 1, std::nullopt);
        // Fewer than none is no number of items, so that a bound above it leaves nothing.
        if (term.key == "minItems") narrow(count == 0 ? 1 : 0, std::max<int64_t>(count - 1, 0));
      }
    }
    TETRAD_TRY(add_unevaluated());
    TETRAD_TRY(find_items());
    TETRAD_TRY(check_contains());
    if (shape_.max_items && *shape_.max_items <= 1) shape_.unique_at = nullptr;
    return std::move(shape_);
  }

 private:
  void narrow(std::optional<int64_t> min, std::optional<int64_t> max) {
    if (min) shape_.min_items = std::max(shape_.min_items, *min);
    if (max) shape_.max_items = std::min(shape_.max_items.value_or(*max), *max);
  }

  Result<void> add_keywords(const json::value& node);
  Result<void> add_contains(const json::value& node);
  Result<void> add_unevaluated();
  Result<void> find_items();
  Result<void> check_contains() const;
  ItemValue item(size_t index) const;

  const SchemaDocument& document_;
  SchemaBudget& budget_;
  ArrayShape shape_;
  std::vector<ItemRule> rules_;
  const json::value* contains_at_ = nullptr;
  bool contains_twice_ = false;
};

Result<void> ArrayReader::add_keywords(const json::value& node) {
  TETRAD_ASSIGN(const auto min, count_member(document_, node, "minItems"));
  TETRAD_ASSIGN(const auto max, count_member(document_, node, "maxItems"));
  narrow(min, max);
  const json::value* unique = schema_member(node, "uniqueItems");
  if (unique != nullptr && !unique->is_bool())
    return document_.fail_at(node, "uniqueItems", "must be true or false");
  if (unique != nullptr && unique->get_bool()) shape_.unique_at = &node;

  ItemRule rule{.schema = &node};
  const json::value* items = schema_member(node, "items");
  if (items != nullptr && items->is_array()) {
    rule.prefix = &items->get_array();
    rule.rest = schema_member(node, "additionalItems");
  } else {
    TETRAD_ASSIGN(rule.prefix, array_member(document_, node, "prefixItems"));
    rule.rest = items;
  }
  if (rule.prefix != nullptr) rule.first_rest = rule.prefix->size();
  rules_.push_back(rule);
  return add_contains(node);
}

Result<void> ArrayReader::add_contains(const json::value& node) {
  const json::value* contains = schema_member(node, "contains");
  if (contains == nullptr) return {};
  TETRAD_ASSIGN(const auto least, count_member(document_, node, "minContains"));
  const bool bounded = schema_member(node, "maxContains") != nullptr;
  if (least == 0 && !bounded) return {};
  if (least.value_or(1) != 1 || bounded)
    return document_.fail_at(node, bounded ? "maxContains" : "minContains",
                             "is not supported, other than 1 as \"minContains\"");
  contains_twice_ = contains_at_ != nullptr;
  contains_at_ = &node;
  shape_.contains = contains;
  return {};
}

/// unevaluatedItems is for the items that no rule of the same schema has been for.
Result<void> ArrayReader::add_unevaluated() {
  const size_t num_rules = rules_.size();
  for (size_t i = 0; i < num_rules; ++i) {
    const json::value* schema = rules_[i].schema;
    const json::value* rest =
        schema == nullptr ? nullptr : schema_member(*schema, "unevaluatedItems");
    if (rest == nullptr || is_true_schema(*rest)) continue;
    TETRAD_ASSIGN(const auto inside,
                  evaluated_in_place(document_, budget_, *schema, "unevaluatedItems"));
    if (std::ranges::any_of(inside, [](const json::value* node) {
          return schema_member(*node, "contains") != nullptr;
        }))
      return document_.fail_at(*schema, "unevaluatedItems",
                               "is not supported together with \"contains\"");
    ItemRule rule{.rest = rest};
    bool all_evaluated = false;
    for (size_t k = 0; k < num_rules; ++k) {
      if (!inside.contains(rules_[k].schema)) continue;
      all_evaluated = all_evaluated || rules_[k].rest != nullptr;
      rule.first_rest = std::max(rule.first_rest, rules_[k].first_rest);
    }
    if (!all_evaluated) rules_.push_back(rule);
  }
  return {};
}

ItemValue ArrayReader::item(size_t index) const {
  Terms terms;
  for (const ItemRule& rule : rules_) {
    const json::value* node = rule.rest;
    if (!rule.is_for_rest(index)) {
      if (rule.prefix == nullptr) continue;
      node = &(*rule.prefix)[index];
      if (rule.schema == nullptr) {
        terms.push_back(Term::of(Term::Kind::equals, *node));
        continue;
      }
    }
    if (node == nullptr || is_true_schema(*node)) continue;
    if (is_false_schema(*node)) return std::nullopt;
    terms.push_back(Term::schema(*node));
  }
  return as_set(std::move(terms));
}

Result<void> ArrayReader::find_items() {
  size_t longest = 0;
  for (const ItemRule& rule : rules_)
    longest = std::max(longest, rule.first_rest);
  // Items behind the last one that there can be are not worth a look.
  if (shape_.max_items && std::cmp_less(*shape_.max_items, longest))
    longest = static_cast<size_t>(*shape_.max_items);
  TETRAD_TRY(budget_.spend((longest + 1) * rules_.size()));
  for (size_t i = 0; i < longest; ++i)
    shape_.prefix.push_back(item(i));
  if (shape_.max_items && std::cmp_less_equal(*shape_.max_items, longest)) return {};
  shape_.rest = item(longest);
  return {};
}

Result<void> ArrayReader::check_contains() const {
  if (shape_.contains == nullptr) return {};
  if (!contains_twice_ && shape_.prefix.empty() && shape_.min_items <= 1 && !shape_.max_items &&
      shape_.unique_at == nullptr)
    return {};
  return document_.fail_at(*contains_at_, "contains",
                           "is not supported together with bounds, positions or uniqueness of "
                           "items");
}

}  // namespace

Result<ArrayShape> arrays_of(const SchemaDocument& document, SchemaBudget& budget,
                             const Alternative& alternative) {
  return ArrayReader(document, budget).read(alternative);
}

}  // namespace tetrad::grammar
