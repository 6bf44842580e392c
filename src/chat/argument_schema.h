#pragma once

// What the JSON Schema of a tool says about the types of its arguments (minimax-m2 spec, section
// 6.4).

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"

namespace tetrad {

enum class ArgumentType : uint8_t { null, integer, number, boolean, object, array, string };

class ArgumentTypes {
 public:
  constexpr ArgumentTypes() = default;
  bool contains(ArgumentType type) const { return (bits_ & bit(type)) != 0; }
  bool empty() const { return bits_ == 0; }
  void add(ArgumentType type) { bits_ |= bit(type); }
  /// What stands here is taken as it is written, whatever it looks like.
  bool only_string() const { return bits_ == bit(ArgumentType::string); }

 private:
  static constexpr unsigned bit(ArgumentType type) { return 1U << static_cast<unsigned>(type); }

  unsigned bits_ = 0;
};

/// A schema with all that it refers to: through `$ref` within the same document, `anyOf`, `oneOf`
/// and `allOf`.
struct ArgumentSchema {
  std::vector<const json::object*> parts;
  /// From `type`, `nullable`, `enum` and `const` of all parts; {string} if they name none.
  ArgumentTypes types;
};

/// Looks up the schemas within one tool's parameters, each once.
class ArgumentSchemas {
 public:
  /// `parameters`: of a ToolDefinition, which must outlive this.
  explicit ArgumentSchemas(const json::object& parameters) : root_(parameters) {}

  /// Of the argument `name`; null if the tool has none of that name.
  const ArgumentSchema* parameter(std::string_view name);
  /// Of a member of an object, or of an element of an array; null if `schema` has none for it.
  const ArgumentSchema* property(const ArgumentSchema& schema, std::string_view name);
  const ArgumentSchema* item(const ArgumentSchema& schema, size_t index);

 private:
  const ArgumentSchema* at(const json::value* schema);
  std::vector<const json::object*> parts_of(const json::object& schema) const;
  const json::value* target(std::string_view ref) const;

  const json::object& root_;
  std::unordered_map<const json::object*, ArgumentSchema> known_;
};

}  // namespace tetrad
