#pragma once

#include <string_view>

#include "base/json.h"
#include "grammar/schema_terms.h"

namespace tetrad::grammar {

/// The types by which argument_json() (src/chat, ArgumentSchemas) decides what the text of the
/// parameter `name` is: those that its schema names, {string} if it names none or there is none.
/// `parameters`: the schema of a tool's arguments.
TypeMask argument_types(const json::value& parameters, std::string_view name);

}  // namespace tetrad::grammar
