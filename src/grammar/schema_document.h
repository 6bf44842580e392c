#pragma once

// One JSON Schema as a document: its resources ($id), anchors and references, and the names of its
// places for error messages.

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "grammar/schema_limits.h"

namespace tetrad::grammar {

/// RFC 6901, without percent signs; null: it leads nowhere. `pointer`: "" or "/…".
const json::value* value_at_pointer(const json::value& root, std::string_view pointer);

class SchemaDocument {
 public:
  /// `root` must outlive the document. `param`: how the request calls it. Errors: larger or deeper
  /// than the limits, two places with one $id, a dialect that is not known.
  static Result<SchemaDocument> scan(const json::value& root, std::string_view param,
                                     const SchemaLimits& limits);

  const json::value& root() const { return *root_; }

  /// Drafts up to 7: what stands beside a $ref does not count.
  bool ref_hides_siblings() const { return ref_hides_siblings_; }

  /// What the "$ref" of the schema `holder` refers to. Errors: nowhere within the document.
  Result<const json::value*> resolve(const json::value& holder, std::string_view ref) const;

  /// "<param>.properties.a": searches the whole document, so for errors only.
  std::string path_of(const json::value& node) const;

  /// An error about the schema, or value, at `node`; `keyword`: the member of it that is meant.
  template <class... Args>
  tl::unexpected<Error> fail_at(const json::value& node, std::string_view keyword,
                                fmt::format_string<Args...> format, Args&&... args) const {
    const std::string path = member_path(node, keyword);
    return fail_param(path, "\"{}\" {}", path, fmt::format(format, std::forward<Args>(args)...));
  }
  /// The error of another part, told of the place it is about.
  tl::unexpected<Error> fail_at(const json::value& node, std::string_view keyword,
                                Error error) const;

 private:
  struct Resource {
    std::string uri;
    const json::value* root = nullptr;
    std::unordered_map<std::string, const json::value*> anchors;
  };
  struct Place;

  SchemaDocument() = default;
  std::string member_path(const json::value& node, std::string_view keyword) const;
  Result<void> measure(const SchemaLimits& limits) const;
  Result<void> read_dialect();
  Result<void> find_resources();
  Result<size_t> enter_resource(const json::value& node, size_t resource);
  size_t resource_of(const json::value& node) const;

  const json::value* root_ = nullptr;
  std::string param_;
  bool ref_hides_siblings_ = false;
  std::string_view id_keyword_ = "$id";
  std::vector<Resource> resources_;
  std::map<std::string, size_t, std::less<>> resources_by_uri_;
  // Of the schemas that do not belong to the first resource.
  std::unordered_map<const json::value*, size_t> resource_of_;
};

}  // namespace tetrad::grammar
