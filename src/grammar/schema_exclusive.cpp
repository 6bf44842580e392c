#include "grammar/schema_exclusive.h"

#include <algorithm>
#include <iterator>
#include <unordered_set>

#include "grammar/schema_arrays.h"
#include "grammar/schema_numbers.h"

namespace tetrad::grammar {
namespace {

// How deep a property that tells options apart may be.
constexpr int kMaxDisjointDepth = 6;

/// Whether everything in `ways` is a single string: then its strings, appended.
bool append_only_strings(const Ways& ways, std::vector<std::string_view>& strings) {
  return std::ranges::all_of(ways.alternatives, [&](const Alternative& alternative) {
    if (alternative.types != kStringType) return false;
    const auto value = std::ranges::find(alternative.terms, Term::Kind::equals, &Term::kind);
    if (value == alternative.terms.end()) return false;
    strings.emplace_back(value->node->get_string());
    return true;
  });
}

/// Whether everything below `upper` is below everything above `lower`.
bool ends_before(const std::optional<NumberBound>& upper, const std::optional<NumberBound>& lower) {
  if (!upper || !lower) return false;
  const std::partial_ordering order = compare_numbers(upper->value, lower->value);
  return order < 0 || (order == 0 && (upper->exclusive || lower->exclusive));
}

bool lengths_disjoint(int64_t min_a, std::optional<int64_t> max_a, int64_t min_b,
                      std::optional<int64_t> max_b) {
  return (max_a && *max_a < min_b) || (max_b && *max_b < min_a);
}

}  // namespace

Result<bool> ExclusiveCheck::check(const ExclusiveOptions& options) {
  auto alone = disjoint_alone_.find(options.holder);
  if (alone == disjoint_alone_.end()) {
    TETRAD_ASSIGN(const bool disjoint, all_disjoint(options, false));
    alone = disjoint_alone_.emplace(options.holder, disjoint).first;
  }
  if (alone->second) return true;
  return all_disjoint(options, true);
}

Result<bool> ExclusiveCheck::all_disjoint(const ExclusiveOptions& options, bool with_context) {
  std::vector<std::shared_ptr<const Ways>> ways;
  std::vector<std::string_view> strings;
  bool only_strings = true;
  for (const json::value& option : options.holder->get_object().at("oneOf").get_array()) {
    Terms terms = with_context ? options.context : Terms();
    terms.push_back(Term::schema(option));
    TETRAD_ASSIGN(auto some, normalizer_.ways(as_set(std::move(terms))));
    only_strings = only_strings && append_only_strings(*some, strings);
    ways.push_back(std::move(some));
  }
  if (only_strings) {
    const std::unordered_set<std::string_view> different(strings.begin(), strings.end());
    if (different.size() == strings.size()) return true;
  }
  for (size_t i = 0; i < ways.size(); ++i) {
    for (size_t k = 0; k < i; ++k) {
      TETRAD_ASSIGN(const bool pair_disjoint, disjoint(*ways[i], *ways[k], 0));
      if (!pair_disjoint) return false;
    }
  }
  return true;
}

Result<bool> ExclusiveCheck::disjoint(const Ways& a, const Ways& b, int depth) {
  for (const Alternative& one : a.alternatives) {
    for (const Alternative& other : b.alternatives) {
      TETRAD_TRY(budget_.spend(1));
      TETRAD_ASSIGN(const bool pair_disjoint, disjoint(one, other, depth));
      if (!pair_disjoint) return false;
    }
  }
  return true;
}

Result<bool> ExclusiveCheck::disjoint(const Alternative& a, const Alternative& b, int depth) {
  const TypeMask common = a.types & b.types;
  if ((common & kLiteralType) != 0) return false;
  if ((common & kNumberType) != 0) {
    TETRAD_ASSIGN(const bool numbers_disjoint, disjoint_numbers(a, b));
    if (!numbers_disjoint) return false;
  }
  if ((common & kStringType) != 0) {
    TETRAD_ASSIGN(const bool strings_disjoint, disjoint_strings(a, b));
    if (!strings_disjoint) return false;
  }
  if ((common & kArrayType) != 0) {
    TETRAD_ASSIGN(const bool arrays_disjoint, disjoint_arrays(a, b));
    if (!arrays_disjoint) return false;
  }
  if ((common & kObjectType) == 0) return true;
  return disjoint_objects(a, b, depth);
}

Result<bool> ExclusiveCheck::disjoint_numbers(const Alternative& a, const Alternative& b) {
  TETRAD_ASSIGN(const NumberConstraints one, numbers_of(document_, a));
  TETRAD_ASSIGN(const NumberConstraints other, numbers_of(document_, b));
  const NumberConstraints* listed = one.finite ? &one : &other;
  const NumberConstraints* rest = one.finite ? &other : &one;
  if (!listed->finite) return ends_before(one.max, other.min) || ends_before(other.max, one.min);
  TETRAD_TRY(budget_.spend(listed->finite->size()));
  return std::ranges::none_of(*listed->finite, [&](const json::value* number) {
    return rest->within_bounds(*number) &&
           (!rest->finite || std::ranges::any_of(*rest->finite, [&](const json::value* value) {
             return equal_json(*number, *value);
           }));
  });
}

Result<bool> ExclusiveCheck::disjoint_strings(const Alternative& a, const Alternative& b) {
  TETRAD_ASSIGN(const StringSet one, strings_.strings_of(a));
  TETRAD_ASSIGN(const StringSet other, strings_.strings_of(b));
  if (lengths_disjoint(one.min_length, one.max_length, other.min_length, other.max_length))
    return true;
  if (one.finite && other.finite) {
    std::vector<std::string_view> common;
    std::ranges::set_intersection(*one.finite, *other.finite, std::back_inserter(common));
    return common.empty();
  }
  if (!one.finite && !other.finite && (!one.regular || !other.regular)) return false;
  TETRAD_ASSIGN(const Automaton texts, strings_.to_automaton(one));
  TETRAD_ASSIGN(const Automaton other_texts, strings_.to_automaton(other));
  TETRAD_ASSIGN(const Automaton both,
                strings_.paid(texts.intersect(other_texts, budget_.limits().automata)));
  return both.empty();
}

Result<bool> ExclusiveCheck::disjoint_arrays(const Alternative& a, const Alternative& b) {
  TETRAD_ASSIGN(const ArrayShape one, arrays_of(document_, budget_, a));
  TETRAD_ASSIGN(const ArrayShape other, arrays_of(document_, budget_, b));
  return lengths_disjoint(one.min_items, one.max_items, other.min_items, other.max_items);
}

Result<std::shared_ptr<const ObjectShape>> ExclusiveCheck::shape_of(
    const Alternative& alternative) {
  std::shared_ptr<const ObjectShape>& shape = shapes_[&alternative];
  if (shape == nullptr) {
    TETRAD_ASSIGN(ObjectShape made,
                  objects_of(document_, budget_, normalizer_, strings_, alternative));
    shape = std::make_shared<const ObjectShape>(std::move(made));
  }
  return shape;
}

Result<bool> ExclusiveCheck::disjoint_objects(const Alternative& a, const Alternative& b,
                                              int depth) {
  if (depth > kMaxDisjointDepth) return false;
  TETRAD_ASSIGN(const auto one, shape_of(a));
  TETRAD_ASSIGN(const auto other, shape_of(b));
  TETRAD_ASSIGN(const bool by_first, tells_apart(*one, *other, depth));
  if (by_first) return true;
  return tells_apart(*other, *one, depth);
}

/// Whether a property that `a` requires has in `b` no value, or none that it may have in `a`.
Result<bool> ExclusiveCheck::tells_apart(const ObjectShape& a, const ObjectShape& b, int depth) {
  for (const ObjectShape::Property& property : a.properties) {
    if (!property.required) continue;
    if (!property.value) return true;  // nothing is in `a`
    TETRAD_TRY(budget_.spend(1 + b.properties.size() / 8));
    const auto found = std::ranges::find(b.properties, property.key, &ObjectShape::Property::key);
    KeyValue value;
    if (found != b.properties.end()) {
      value = found->value;
    } else {
      std::vector<int32_t> matching;
      for (size_t i = 0; i < b.patterns.size(); ++i) {
        if (b.patterns[i].contains(property.key)) matching.push_back(static_cast<int32_t>(i));
      }
      if (b.has_others && (!b.names || b.names->contains(property.key)))
        value = b.value_of(property.key, matching);
    }
    if (!value) return true;
    TETRAD_ASSIGN(const auto ways, normalizer_.ways(*property.value));
    TETRAD_ASSIGN(const auto other_ways, normalizer_.ways(*value));
    TETRAD_ASSIGN(const bool told, disjoint(*ways, *other_ways, depth + 1));
    if (told) return true;
  }
  return false;
}

}  // namespace tetrad::grammar
