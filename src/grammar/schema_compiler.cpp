#include "grammar/schema_compiler.h"

#include <algorithm>
#include <array>

#include "grammar/code_point_dfa.h"
#include "grammar/schema_numbers.h"

namespace tetrad::grammar {
namespace {

int64_t bound_of(std::optional<int64_t> max) {
  return max.value_or(kUnbounded);
}

/// What tells the numbers of two alternatives apart; empty: a list of values.
std::string signature(const NumberConstraints& numbers) {
  if (numbers.finite || !numbers.excluded.empty()) return "";
  std::string text = numbers.integer ? "integer" : numbers.fraction ? "fraction" : "number";
  for (const auto* bound : {&numbers.min, &numbers.max}) {
    text += !*bound ? " -" : (*bound)->exclusive ? " exclusive " : " inclusive ";
    if (*bound) text += to_json_text((*bound)->value);
  }
  for (const json::value& multiple : numbers.multiples_of)
    text += " of " + to_json_text(multiple);
  return text;
}

}  // namespace

NodeId SchemaCompiler::values_of(const Terms& terms) {
  const auto [place, added] = nodes_.try_emplace(terms, 0);
  if (added) {
    place->second = builder_.declare();
    jobs_.push_back({terms, place->second});
  }
  return place->second;
}

Result<void> SchemaCompiler::finish() {
  while (!jobs_.empty()) {
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    TETRAD_ASSIGN(const NodeId node, node_of(job.terms));
    builder_.define(job.declared, node);
    const size_t max_nodes = budget_.limits().max_nodes;
    if (builder_.num_nodes() - first_node_ > max_nodes)
      return fail_param(budget_.param(), "\"{}\" makes a grammar of more than {} nodes",
                        budget_.param(), max_nodes);
  }
  return {};
}

Result<std::shared_ptr<const Ways>> SchemaCompiler::ways(const Terms& terms) {
  for (const json::value* negated = nullptr;;) {
    Result<std::shared_ptr<const Ways>> ways = normalizer_.ways(terms);
    if (!ways && negated == nullptr) return ways;
    const ExclusiveOptions* overlap = nullptr;
    if (ways) {
      TETRAD_ASSIGN(overlap, first_overlap(**ways));
      if (overlap == nullptr) return ways;
      negated = overlap->holder;
    }
    if (!ways || normalizer_.excludes_by_negation(*negated))
      return document_.fail_at(
          *negated, "oneOf",
          "has options of which one value may satisfy two; use \"anyOf\", or tell them apart by "
          "type or by a required property with a different \"const\" in each");
    normalizer_.exclude_by_negation(*negated);
    exclusive_.forget_shapes();
  }
}

/// Of the "oneOf" that were taken for "anyOf" the first that may not be; null: all may.
Result<const ExclusiveOptions*> SchemaCompiler::first_overlap(const Ways& ways) {
  for (const ExclusiveOptions& options : ways.exclusive) {
    TETRAD_ASSIGN(const bool exclusive, exclusive_.check(options));
    if (!exclusive) return &options;
  }
  return nullptr;
}

Result<ObjectShape> SchemaCompiler::objects_of(const Alternative& alternative) {
  TETRAD_ASSIGN(ObjectShape shape,
                grammar::objects_of(document_, budget_, normalizer_, strings_, alternative));
  if (shape.name_terms.empty()) return shape;
  // A "oneOf" of names may turn out not to be an anyOf.
  TETRAD_TRY(ways(shape.name_terms));
  return grammar::objects_of(document_, budget_, normalizer_, strings_, alternative);
}

Result<NodeId> SchemaCompiler::node_of(const Terms& terms) {
  TETRAD_TRY(budget_.spend(100 + 10 * terms.size()));
  TETRAD_ASSIGN(const std::shared_ptr<const Ways> all, ways(terms));
  Scalars scalars;
  std::vector<NodeId> options;
  for (const Alternative& alternative : all->alternatives) {
    TETRAD_TRY(add_scalars(alternative, scalars));
    if ((alternative.types & kArrayType) != 0) {
      TETRAD_ASSIGN(const NodeId node, arrays_node(alternative));
      options.push_back(node);
    }
    if ((alternative.types & kObjectType) != 0) {
      TETRAD_ASSIGN(const NodeId node, objects_node(alternative));
      options.push_back(node);
    }
  }
  TETRAD_ASSIGN(const NodeId node, scalars_node(scalars));
  options.push_back(node);
  return options.size() == 1 ? options[0] : builder_.choice(std::move(options));
}

Result<void> SchemaCompiler::add_scalars(const Alternative& alternative, Scalars& scalars) {
  scalars.literals |= alternative.types & kLiteralType;
  if ((alternative.types & kNumberType) != 0) {
    TETRAD_ASSIGN(const NodeId node, numbers_node(alternative));
    scalars.nodes.push_back(node);
  }
  if ((alternative.types & kStringType) != 0) {
    TETRAD_ASSIGN(const StringSet set, strings_.strings_of(alternative));
    if (set.finite) {
      scalars.strings.insert(scalars.strings.end(), set.finite->begin(), set.finite->end());
    } else {
      TETRAD_ASSIGN(const NodeId node, strings_node(set));
      scalars.nodes.push_back(node);
    }
  }
  return {};
}

Result<NodeId> SchemaCompiler::scalars_node(const Scalars& scalars) {
  std::vector<NodeId> options = scalars.nodes;
  std::ranges::sort(options);
  options.erase(std::unique(options.begin(), options.end()), options.end());
  if (scalars.literals != 0) {
    TETRAD_ASSIGN(const NodeId node, literals_node(scalars.literals));
    options.push_back(node);
  }
  if (!scalars.strings.empty()) {
    StringSet set{.finite = scalars.strings};
    TETRAD_ASSIGN(const NodeId node, strings_node(set));
    options.push_back(node);
  }
  return options.size() == 1 ? options[0] : builder_.choice(std::move(options));
}

Result<NodeId> SchemaCompiler::literals_node(TypeMask literals) {
  if (const auto known = literals_.find(literals); known != literals_.end()) return known->second;
  std::vector<std::string_view> texts;
  if ((literals & kNullType) != 0) texts.emplace_back("null");
  if ((literals & kFalseType) != 0) texts.emplace_back("false");
  if ((literals & kTrueType) != 0) texts.emplace_back("true");
  TETRAD_ASSIGN(const NodeId node, text_node(Automaton::any_of(texts), Encoding::utf8));
  literals_.emplace(literals, node);
  return node;
}

Result<NodeId> SchemaCompiler::text_node(const Automaton& automaton, Encoding encoding) {
  const std::pair<const void*, Encoding> key(&automaton.impl(), encoding);
  if (const auto known = encoded_.find(key); known != encoded_.end()) return known->second.node;
  const AutomatonLimits limits{.max_states = 8 * budget_.limits().automata.max_states};
  Result<ByteDfa> dfa = encode(automaton, encoding, limits);
  if (!dfa) return document_.fail_at(document_.root(), "", std::move(dfa.error()));
  TETRAD_TRY(budget_.spend(100 + 10 * dfa->num_states()));
  const NodeId node = builder_.text(std::make_shared<const ByteDfa>(std::move(*dfa)));
  encoded_.emplace(key, Encoded{automaton, node});
  return node;
}

Result<NodeId> SchemaCompiler::strings_node(const StringSet& set) {
  if (!set.finite && !set.regular) {
    if (!set.has_length()) return syntax_.free_string;
    if (set.min_length > bound_of(set.max_length)) return builder_.never();
    return builder_.add(List{.open = syntax_.quote,
                             .separator = syntax_.nothing,
                             .close = syntax_.quote,
                             .rest = syntax_.character,
                             .min_items = set.min_length,
                             .max_items = bound_of(set.max_length)});
  }
  TETRAD_ASSIGN(Automaton texts, strings_.to_automaton(set));
  if (syntax_.allowed) {
    TETRAD_ASSIGN(texts,
                  strings_.paid(texts.intersect(
                      *syntax_.allowed, {.max_states = 8 * budget_.limits().automata.max_states})));
  }
  TETRAD_ASSIGN(const NodeId inner, text_node(texts, Encoding::json_string));
  return builder_.sequence({syntax_.quote, inner, syntax_.quote});
}

Result<NodeId> SchemaCompiler::numbers_node(const Alternative& alternative) {
  TETRAD_ASSIGN(const NumberConstraints numbers, numbers_of(document_, alternative));
  const std::string key = signature(numbers);
  if (const auto known = numbers_.find(key); known != numbers_.end()) return known->second;
  TETRAD_ASSIGN(const Automaton texts, number_automaton(document_, budget_, alternative));
  TETRAD_ASSIGN(const NodeId node, text_node(texts, Encoding::utf8));
  if (!key.empty()) numbers_.emplace(key, node);
  return node;
}

Result<NodeId> SchemaCompiler::arrays_node(const Alternative& alternative) {
  TETRAD_ASSIGN(const ArrayShape shape, arrays_of(document_, budget_, alternative));
  if (shape.min_items > bound_of(shape.max_items)) return builder_.never();
  if (shape.unique_at != nullptr) return unique_items_node(shape);
  if (shape.contains != nullptr) return containing_items_node(shape);
  const auto node = [&](const ItemValue& item) {
    return item ? values_of(*item) : builder_.never();
  };
  List list{.open = syntax_.array_open,
            .separator = syntax_.comma,
            .close = syntax_.array_close,
            .rest = node(shape.rest),
            .min_items = shape.min_items,
            .max_items = bound_of(shape.max_items)};
  for (const ItemValue& item : shape.prefix)
    list.prefix.push_back(node(item));
  return builder_.add(std::move(list));
}

/// Items, one that is contained, and items again.
NodeId SchemaCompiler::containing_items_node(const ArrayShape& shape) {
  if (!shape.rest) return builder_.never();
  const NodeId any = values_of(*shape.rest);
  Terms both = *shape.rest;
  both.push_back(Term::schema(*shape.contains));
  const NodeId contained = values_of(as_set(std::move(both)));
  const NodeId before = builder_.repeat(builder_.sequence({any, syntax_.comma}), 0, kUnbounded);
  const NodeId after = builder_.repeat(builder_.sequence({syntax_.comma, any}), 0, kUnbounded);
  return builder_.sequence({syntax_.array_open, before, contained, after, syntax_.array_close});
}

/// Different items of a list of strings: keys without values.
Result<NodeId> SchemaCompiler::unique_items_node(const ArrayShape& shape) {
  std::vector<std::string_view> strings;
  bool listed = shape.prefix.empty();
  if (listed && shape.rest) {
    TETRAD_ASSIGN(const std::shared_ptr<const Ways> all, ways(*shape.rest));
    for (const Alternative& alternative : all->alternatives) {
      listed = listed && alternative.types == kStringType;
      if (!listed) break;
      TETRAD_ASSIGN(const StringSet set, strings_.strings_of(alternative));
      listed = set.finite.has_value();
      if (listed) strings.insert(strings.end(), set.finite->begin(), set.finite->end());
    }
  }
  if (!listed)
    return document_.fail_at(*shape.unique_at, "uniqueItems",
                             "is only supported for items that are an \"enum\" of strings; leave "
                             "it out, and look at the items of the answer yourself");
  std::ranges::sort(strings);
  strings.erase(std::unique(strings.begin(), strings.end()), strings.end());
  ObjectShape keys{.has_others = false};
  for (const std::string_view text : strings)
    keys.properties.push_back({.key = text, .value = Terms()});
  keys.min_properties = shape.min_items;
  keys.max_properties = shape.max_items;
  TETRAD_ASSIGN(const Keys told, keys_of(keys, Encoding::json_string, "\"", "\""));
  Members members{.open = syntax_.array_open,
                  .separator = syntax_.comma,
                  .close = syntax_.array_close,
                  .between = syntax_.nothing,
                  .after = syntax_.nothing,
                  .keys = told.dfa,
                  .min_members = keys.min_properties,
                  .max_members = bound_of(keys.max_properties)};
  if (told.dfa == nullptr)
    return keys.min_properties > 0 ? builder_.never()
                                   : builder_.sequence({syntax_.array_open, syntax_.array_close});
  for (size_t i = 0; i < told.kinds.size(); ++i)
    members.kinds.push_back({.value = syntax_.nothing, .once = true});
  return builder_.add(std::move(members));
}

Result<NodeId> SchemaCompiler::objects_node(const Alternative& alternative) {
  TETRAD_ASSIGN(const ObjectShape shape, objects_of(alternative));
  return members_node(shape);
}

Result<NodeId> SchemaCompiler::members_node(const ObjectShape& shape) {
  if (shape.min_properties > bound_of(shape.max_properties)) return builder_.never();
  Members members{.open = syntax_.object_open,
                  .separator = syntax_.comma,
                  .close = syntax_.object_close,
                  .between = syntax_.colon,
                  .after = syntax_.nothing,
                  .min_members = shape.min_properties,
                  .max_members = bound_of(shape.max_properties)};
  const bool all_alike =
      shape.properties.empty() && shape.patterns.empty() && !shape.names && shape.open;
  if (const KeyValue value = shape.value_of(std::nullopt, {}); all_alike && value) {
    members.keys = syntax_.free_key;
    members.kinds = {{.value = values_of(*value)}};
    return builder_.add(std::move(members));
  }
  TETRAD_ASSIGN(const Keys keys, keys_of(shape, Encoding::json_string, "\"", "\""));
  const bool impossible = std::ranges::any_of(
      shape.properties, [](const auto& property) { return property.required && !property.value; });
  if (impossible || (keys.dfa == nullptr && shape.min_properties > 0)) return builder_.never();
  if (keys.dfa == nullptr) return builder_.sequence({syntax_.object_open, syntax_.object_close});
  members.keys = keys.dfa;
  for (const Keys::Kind& kind : keys.kinds)
    members.kinds.push_back({.value = kind.value ? values_of(*kind.value) : builder_.never(),
                             .required = kind.required,
                             .once = kind.once});
  return builder_.add(std::move(members));
}

Result<SchemaCompiler::Keys> SchemaCompiler::keys_of(const ObjectShape& shape, Encoding encoding,
                                                     std::string_view prefix,
                                                     std::string_view suffix) {
  const size_t num_known = shape.properties.size();
  std::vector<Automaton> sets;
  sets.reserve(num_known);
  for (const ObjectShape::Property& property : shape.properties)
    sets.push_back(Automaton::literal(property.key));
  const size_t first_pattern = sets.size();
  size_t names_place = sets.size();
  if (shape.has_others) {
    sets.insert(sets.end(), shape.patterns.begin(), shape.patterns.end());
    names_place = sets.size();
    if (shape.names || shape.open) sets.push_back(shape.names.value_or(Automaton::any()));
    for (size_t i = first_pattern; syntax_.allowed && i < sets.size(); ++i) {
      TETRAD_ASSIGN(sets[i], strings_.paid(sets[i].intersect(*syntax_.allowed, {})));
    }
  }
  Keys keys;
  if (sets.empty()) return keys;
  TETRAD_TRY(budget_.spend(50 * sets.size()));
  AutomatonLimits limits = budget_.limits().automata;
  for (const ObjectShape::Property& property : shape.properties)
    limits.max_states += property.key.size() + suffix.size();
  Result<Classifier> told = classify(sets, encoding, suffix, limits);
  if (!told) return document_.fail_at(document_.root(), "", std::move(told.error()));
  TETRAD_TRY(budget_.spend(10 * told->dfa.num_states()));
  for (const std::vector<int32_t>& members : told->members) {
    if (std::cmp_less(members[0], num_known)) {
      const ObjectShape::Property& property = shape.properties[static_cast<size_t>(members[0])];
      keys.kinds.push_back({property.key, property.value, property.required, true});
      continue;
    }
    std::vector<int32_t> matching;
    bool named = !shape.names;
    for (const int32_t member : members) {
      if (std::cmp_equal(member, names_place)) {
        named = true;
      } else {
        matching.push_back(member - static_cast<int32_t>(first_pattern));
      }
    }
    const KeyValue value = named ? shape.value_of(std::nullopt, matching) : std::nullopt;
    keys.kinds.push_back({.value = value});
  }
  if (!told->dfa.empty())
    keys.dfa = std::make_shared<const ByteDfa>(with_prefix(prefix, told->dfa));
  return keys;
}

}  // namespace tetrad::grammar
