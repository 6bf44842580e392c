#include "chat/argument_schema.h"

#include <array>
#include <unordered_set>
#include <utility>

namespace tetrad {
namespace {

struct TypeName {
  std::string_view name;
  ArgumentType type;
};

/// JSON Schema's names, and those that servers and clients write for them.
constexpr std::array kTypeNames = {
    TypeName{"null", ArgumentType::null},       TypeName{"integer", ArgumentType::integer},
    TypeName{"int", ArgumentType::integer},     TypeName{"number", ArgumentType::number},
    TypeName{"float", ArgumentType::number},    TypeName{"double", ArgumentType::number},
    TypeName{"boolean", ArgumentType::boolean}, TypeName{"bool", ArgumentType::boolean},
    TypeName{"object", ArgumentType::object},   TypeName{"dict", ArgumentType::object},
    TypeName{"array", ArgumentType::array},     TypeName{"list", ArgumentType::array},
    TypeName{"string", ArgumentType::string},   TypeName{"str", ArgumentType::string},
    TypeName{"text", ArgumentType::string},
};

constexpr std::array kAlternatives = {"anyOf", "oneOf", "allOf"};

ArgumentType type_of_value(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return ArgumentType::null;
    case json::kind::bool_:
      return ArgumentType::boolean;
    case json::kind::int64:
    case json::kind::uint64:
      return ArgumentType::integer;
    case json::kind::double_:
      return ArgumentType::number;
    case json::kind::string:
      return ArgumentType::string;
    case json::kind::array:
      return ArgumentType::array;
    case json::kind::object:
      return ArgumentType::object;
  }
  return ArgumentType::string;
}

void add_named_type(const json::value& name, ArgumentTypes& types) {
  if (!name.is_string()) return;
  for (const TypeName& known : kTypeNames) {
    if (known.name == std::string_view(name.get_string())) types.add(known.type);
  }
}

/// What one part of a schema says itself.
void add_own_types(const json::object& schema, ArgumentTypes& types) {
  if (const json::value* type = schema.if_contains("type")) {
    add_named_type(*type, types);
    if (const json::array* list = type->if_array()) {
      for (const json::value& name : *list)
        add_named_type(name, types);
    }
  }
  if (const json::value* members = schema.if_contains("enum"); members && members->is_array()) {
    for (const json::value& member : members->get_array())
      types.add(type_of_value(member));
  }
  if (const json::value* value = schema.if_contains("const")) types.add(type_of_value(*value));
}

bool is_nullable(const json::object& schema) {
  const json::value* nullable = schema.if_contains("nullable");
  return nullable != nullptr && nullable->is_bool() && nullable->get_bool();
}

ArgumentTypes types_of(const std::vector<const json::object*>& parts) {
  ArgumentTypes types;
  for (const json::object* part : parts)
    add_own_types(*part, types);
  if (types.empty()) types.add(ArgumentType::string);
  for (const json::object* part : parts) {
    if (is_nullable(*part)) types.add(ArgumentType::null);
  }
  return types;
}

/// `~1` is `/` and `~0` is `~` in a JSON Pointer.
std::string pointer_token(std::string_view escaped) {
  std::string token;
  for (size_t i = 0; i < escaped.size(); ++i) {
    if (escaped.substr(i).starts_with("~1")) {
      token += '/';
      ++i;
    } else if (escaped.substr(i).starts_with("~0")) {
      token += '~';
      ++i;
    } else {
      token += escaped[i];
    }
  }
  return token;
}

const json::value* child_at(const json::value& value, std::string_view token) {
  if (const json::object* object = value.if_object()) return object->if_contains(token);
  const json::array* array = value.if_array();
  if (array == nullptr || token.empty() || token.size() > 9 ||
      token.find_first_not_of("0123456789") != std::string_view::npos)
    return nullptr;
  return array->if_contains(std::stoul(std::string(token)));
}

}  // namespace

/// Where `#/a/b` points to; null if nowhere, or into another document.
const json::value* ArgumentSchemas::target(std::string_view ref) const {
  if (!ref.starts_with("#/")) return nullptr;
  ref.remove_prefix(2);
  const json::value* value = nullptr;
  for (;;) {
    const size_t end = std::min(ref.find('/'), ref.size());
    const std::string token = pointer_token(ref.substr(0, end));
    value = value == nullptr ? root_.if_contains(token) : child_at(*value, token);
    if (value == nullptr || end == ref.size()) return value;
    ref.remove_prefix(end + 1);
  }
}

std::vector<const json::object*> ArgumentSchemas::parts_of(const json::object& schema) const {
  std::vector<const json::object*> parts{&schema};
  std::unordered_set<const json::object*> seen{&schema};
  const auto add = [&](const json::object* part) {
    if (part != nullptr && seen.insert(part).second) parts.push_back(part);
  };
  size_t next = 0;
  while (next < parts.size()) {  // which grows
    const json::object& part = *parts[next++];
    if (const json::value* ref = part.if_contains("$ref"); ref && ref->is_string()) {
      const std::string_view text = ref->get_string();
      if (text == "#") add(&root_);
      if (const json::value* value = target(text)) add(value->if_object());
    }
    for (const char* key : kAlternatives) {
      const json::value* list = part.if_contains(key);
      if (list == nullptr || !list->is_array()) continue;
      for (const json::value& alternative : list->get_array())
        add(alternative.if_object());
    }
  }
  return parts;
}

const ArgumentSchema* ArgumentSchemas::at(const json::value* schema) {
  const json::object* object = schema == nullptr ? nullptr : schema->if_object();
  if (object == nullptr) return nullptr;
  const auto [entry, is_new] = known_.try_emplace(object);
  if (is_new) {
    entry->second.parts = parts_of(*object);
    entry->second.types = types_of(entry->second.parts);
  }
  return &entry->second;
}

const ArgumentSchema* ArgumentSchemas::parameter(std::string_view name) {
  const auto [entry, is_new] = known_.try_emplace(&root_);
  if (is_new) {
    entry->second.parts = parts_of(root_);
    entry->second.types = types_of(entry->second.parts);
  }
  return property(entry->second, name);
}

const ArgumentSchema* ArgumentSchemas::property(const ArgumentSchema& schema,
                                                std::string_view name) {
  for (const json::object* part : schema.parts) {
    const json::value* properties = part->if_contains("properties");
    if (properties == nullptr || !properties->is_object()) continue;
    if (const ArgumentSchema* found = at(properties->get_object().if_contains(name))) return found;
  }
  return nullptr;
}

const ArgumentSchema* ArgumentSchemas::item(const ArgumentSchema& schema, size_t index) {
  for (const json::object* part : schema.parts) {
    const json::value* prefix = part->if_contains("prefixItems");
    if (prefix != nullptr && prefix->is_array()) {
      if (const ArgumentSchema* found = at(prefix->get_array().if_contains(index))) return found;
    }
    if (const ArgumentSchema* found = at(part->if_contains("items"))) return found;
  }
  return nullptr;
}

}  // namespace tetrad
