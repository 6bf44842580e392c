#include "grammar/schema_unevaluated.h"

#include <vector>

#include "grammar/schema_keywords.h"

namespace tetrad::grammar {

Result<std::unordered_set<const json::value*>> evaluated_in_place(const SchemaDocument& document,
                                                                  SchemaBudget& budget,
                                                                  const json::value& schema,
                                                                  std::string_view keyword) {
  std::unordered_set<const json::value*> found;
  std::vector<const json::value*> pending = {&schema};
  while (!pending.empty()) {
    const json::value* node = pending.back();
    pending.pop_back();
    if (!node->is_object() || !found.insert(node).second) continue;
    TETRAD_TRY(budget.spend(1));
    TETRAD_ASSIGN(const json::string* ref, string_member(document, *node, "$ref"));
    if (ref != nullptr) {
      TETRAD_ASSIGN(const json::value* target, document.resolve(*node, *ref));
      pending.push_back(target);
    }
    const json::value* any = schema_member(*node, "anyOf");
    const bool several = any != nullptr && any->is_array() && any->get_array().size() > 1;
    const bool inner = node != &schema && schema_member(*node, keyword) != nullptr;
    if (several || inner || schema_member(*node, "if") != nullptr)
      return document.fail_at(
          schema, keyword,
          "is not supported together with \"anyOf\", \"if\" or another one within "
          "\"allOf\"; use \"additionalProperties\" or \"items\" instead");
    for (const std::string_view list : {"allOf", "anyOf", "oneOf"}) {
      TETRAD_ASSIGN(const json::array* schemas, array_member(document, *node, list));
      if (schemas == nullptr) continue;
      for (const json::value& element : *schemas)
        pending.push_back(&element);
    }
    TETRAD_ASSIGN(const json::object* dependent,
                  object_member(document, *node, "dependentSchemas"));
    if (dependent == nullptr) continue;
    for (const auto& [key, element] : *dependent)
      pending.push_back(&element);
  }
  return found;
}

}  // namespace tetrad::grammar
