#include "grammar/schema_document.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <span>
#include <utility>

#include "grammar/schema_uri.h"

namespace tetrad::grammar {
namespace {

constexpr std::string_view kSchemaKeywords[] = {
    "additionalProperties",
    "additionalItems",
    "propertyNames",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedProperties",
    "items",
    "unevaluatedItems",
};
constexpr std::string_view kSchemaListKeywords[] = {"allOf", "anyOf", "oneOf", "prefixItems",
                                                    "items"};
constexpr std::string_view kSchemaMapKeywords[] = {
    "properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"};

/// The schemas right below one.
void append_subschemas(const json::object& schema, std::vector<const json::value*>& found) {
  for (const std::string_view keyword : kSchemaKeywords) {
    const json::value* member = schema.if_contains(keyword);
    if (member != nullptr && member->is_object()) found.push_back(member);
  }
  for (const std::string_view keyword : kSchemaListKeywords) {
    const json::value* member = schema.if_contains(keyword);
    if (member == nullptr || !member->is_array()) continue;
    for (const json::value& element : member->get_array())
      found.push_back(&element);
  }
  for (const std::string_view keyword : kSchemaMapKeywords) {
    const json::value* member = schema.if_contains(keyword);
    if (member == nullptr || !member->is_object()) continue;
    for (const auto& [key, value] : member->get_object())
      found.push_back(&value);
  }
}

const json::value* child_named(const json::value& value, std::string_view name) {
  if (const json::object* object = value.if_object()) return object->if_contains(name);
  const json::array* array = value.if_array();
  size_t index = 0;
  const char* end = name.data() + name.size();
  if (array == nullptr || name.empty() || (name[0] == '0' && name.size() > 1)) return nullptr;
  const auto [parsed, ec] = std::from_chars(name.data(), end, index);
  return ec == std::errc() && parsed == end && index < array->size() ? &(*array)[index] : nullptr;
}

/// Appends the path from `value` to `target`; whether it is there. As deep as the document.
bool append_path(const json::value& value, const json::value& target, std::string& path) {
  if (&value == &target) return true;
  const size_t length = path.size();
  if (const json::object* object = value.if_object()) {
    for (const auto& [key, member] : *object) {
      path += '.';
      path += std::string_view(key);
      if (append_path(member, target, path)) return true;
      path.resize(length);
    }
  }
  if (const json::array* array = value.if_array()) {
    for (size_t i = 0; i < array->size(); ++i) {
      path += fmt::format("[{}]", i);
      if (append_path((*array)[i], target, path)) return true;
      path.resize(length);
    }
  }
  return false;
}

}  // namespace

const json::value* value_at_pointer(const json::value& root, std::string_view pointer) {
  const json::value* value = &root;
  while (!pointer.empty() && value != nullptr) {
    pointer.remove_prefix(1);  // the slash
    const std::string_view token = pointer.substr(0, pointer.find('/'));
    pointer.remove_prefix(token.size());
    std::string name;
    for (size_t i = 0; i < token.size(); ++i) {
      const bool escape = token[i] == '~' && i + 1 < token.size();
      if (escape) ++i;
      name += !escape ? token[i] : token[i] == '1' ? '/' : '~';
    }
    value = child_named(*value, name);
  }
  return value;
}

struct SchemaDocument::Place {
  const json::value* node;
  size_t resource;
};

Result<SchemaDocument> SchemaDocument::scan(const json::value& root, std::string_view param,
                                            const SchemaLimits& limits) {
  SchemaDocument document;
  document.root_ = &root;
  document.param_ = param;
  TETRAD_TRY(document.measure(limits));
  TETRAD_TRY(document.read_dialect());
  TETRAD_TRY(document.find_resources());
  return document;
}

Result<void> SchemaDocument::measure(const SchemaLimits& limits) const {
  size_t bytes = 0;
  std::vector<std::pair<const json::value*, size_t>> pending = {{root_, 1}};
  while (!pending.empty()) {
    const auto [value, depth] = pending.back();
    pending.pop_back();
    bytes += 2;
    if (depth > limits.max_depth)
      return fail_param(param_, "\"{}\" is nested more than {} levels deep", param_,
                        limits.max_depth);
    if (const json::string* text = value->if_string()) bytes += text->size();
    if (const json::object* object = value->if_object()) {
      for (const auto& [key, member] : *object) {
        bytes += key.size() + 3;
        pending.emplace_back(&member, depth + 1);
      }
    }
    if (const json::array* array = value->if_array()) {
      for (const json::value& element : *array)
        pending.emplace_back(&element, depth + 1);
    }
    if (bytes > limits.max_schema_bytes)
      return fail_param(param_, "\"{}\" is larger than {} bytes", param_, limits.max_schema_bytes);
  }
  return {};
}

Result<void> SchemaDocument::read_dialect() {
  const json::object* object = root_->if_object();
  const json::value* dialect = object == nullptr ? nullptr : object->if_contains("$schema");
  if (dialect == nullptr) return {};
  if (!dialect->is_string()) return fail_at(*root_, "$schema", "must be a string");
  const std::string_view uri = without_fragment(std::string_view(dialect->get_string()));
  for (const std::string_view draft : {"draft-04", "draft-06", "draft-07"}) {
    if (uri == fmt::format("http://json-schema.org/{}/schema", draft) ||
        uri == fmt::format("https://json-schema.org/{}/schema", draft)) {
      ref_hides_siblings_ = true;
      if (draft == "draft-04") id_keyword_ = "id";
      return {};
    }
  }
  for (const std::string_view draft : {"2019-09", "2020-12"}) {
    if (uri == fmt::format("https://json-schema.org/draft/{}/schema", draft) ||
        uri == fmt::format("http://json-schema.org/draft/{}/schema", draft))
      return {};
  }
  if (uri == "http://json-schema.org/schema" || uri == "https://json-schema.org/schema") return {};
  return fail_at(*root_, "$schema",
                 "is not a known dialect; draft 4, 6, 7, 2019-09 and 2020-12 are");
}

Result<size_t> SchemaDocument::enter_resource(const json::value& node, size_t resource) {
  const json::object& schema = node.get_object();
  if (ref_hides_siblings_ && schema.contains("$ref")) return resource;
  const json::value* id = schema.if_contains(id_keyword_);
  if (id != nullptr && id->is_string()) {
    const std::string_view text(id->get_string());
    const std::string_view fragment = uri_fragment(text);
    if (!without_fragment(text).empty()) {
      const std::string uri = resolve_uri(resources_[resource].uri, text);
      if (&node == root_) {
        resources_[0].uri = uri;
      } else {
        resource = resources_.size();
        resources_.push_back({uri, &node, {}});
      }
      if (!resources_by_uri_.emplace(uri, resource).second)
        return fail_at(node, id_keyword_, "is the name of another schema of the document");
    }
    if (!fragment.empty()) resources_[resource].anchors.emplace(fragment, &node);
  }
  for (const std::string_view keyword : {"$anchor", "$dynamicAnchor"}) {
    const json::value* anchor = schema.if_contains(keyword);
    if (anchor != nullptr && anchor->is_string())
      resources_[resource].anchors.emplace(std::string(anchor->get_string()), &node);
  }
  return resource;
}

Result<void> SchemaDocument::find_resources() {
  resources_.push_back({"", root_, {}});
  std::vector<Place> pending = {{root_, 0}};
  std::vector<const json::value*> below;
  while (!pending.empty()) {
    Place place = pending.back();
    pending.pop_back();
    if (!place.node->is_object()) continue;
    TETRAD_ASSIGN(place.resource, enter_resource(*place.node, place.resource));
    if (place.resource != 0) resource_of_.emplace(place.node, place.resource);
    below.clear();
    append_subschemas(place.node->get_object(), below);
    for (const json::value* node : below)
      pending.push_back({node, place.resource});
  }
  return {};
}

size_t SchemaDocument::resource_of(const json::value& node) const {
  const auto found = resource_of_.find(&node);
  return found == resource_of_.end() ? 0 : found->second;
}

Result<const json::value*> SchemaDocument::resolve(const json::value& holder,
                                                   std::string_view ref) const {
  size_t resource = resource_of(holder);
  if (!without_fragment(ref).empty()) {
    const auto found = resources_by_uri_.find(resolve_uri(resources_[resource].uri, ref));
    if (found == resources_by_uri_.end())
      return fail_at(holder, "$ref",
                     "refers to another document; nothing is fetched, so put what it refers to "
                     "into \"$defs\" of this schema");
    resource = found->second;
  }
  const std::optional<std::string> fragment = percent_decoded(uri_fragment(ref));
  if (!fragment) return fail_at(holder, "$ref", "is not a valid URI reference");
  const Resource& target = resources_[resource];
  const json::value* node = nullptr;
  if (fragment->empty() || fragment->starts_with('/')) {
    node = value_at_pointer(*target.root, *fragment);
  } else if (const auto anchor = target.anchors.find(*fragment); anchor != target.anchors.end()) {
    node = anchor->second;
  }
  if (node == nullptr)
    return fail_at(holder, "$ref", "refers to \"{}\", which is not in the schema", ref);
  return node;
}

std::string SchemaDocument::path_of(const json::value& node) const {
  std::string path;
  append_path(*root_, node, path);
  return param_ + path;
}

std::string SchemaDocument::member_path(const json::value& node, std::string_view keyword) const {
  std::string path = path_of(node);
  if (keyword.empty()) return path;
  path += '.';
  path += keyword;
  return path;
}

tl::unexpected<Error> SchemaDocument::fail_at(const json::value& node, std::string_view keyword,
                                              Error error) const {
  const std::string path = member_path(node, keyword);
  return fail_param(path, "\"{}\": {}", path, error.message);
}

}  // namespace tetrad::grammar
