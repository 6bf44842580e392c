#pragma once

// Fields that hold the content of an answer to a form: OpenAI's response_format, vLLM's
// structured_outputs and its older guided_* names.

#include <string>
#include <vector>

#include "api/field_reader.h"

namespace tetrad::api {

struct StructuredOutput {
  enum class Kind { none, json_object, json_schema, regex, grammar, choice };

  Kind kind = Kind::none;
  json::value schema;                // of json_schema
  std::string text;                  // of regex and grammar
  std::vector<std::string> choices;  // of choice
  std::string param;                 // the field that asked for it
};

/// Errors: more than one form, forms of another kind, `strict` words about them that cannot be
/// kept.
Result<StructuredOutput> read_structured_output(FieldReader& fields);

/// A form in the shape of {"type": "json_schema", …} whose members stand beside `type`: the
/// Responses API's text.format. `param` names it.
Result<StructuredOutput> read_flat_format(const json::object& format, std::string_view param);

}  // namespace tetrad::api
