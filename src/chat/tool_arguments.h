#pragma once

// From the text of an argument to its JSON (minimax-m2 spec, section 6.4).

#include <string>
#include <string_view>

#include "chat/argument_schema.h"

namespace tetrad {

/// Deeper values than this stay text.
inline constexpr size_t kMaxArgumentDepth = 60;

/// The JSON of the argument that `text` stands for, with ", " and ": " between its parts: the first
/// of null, integer, number, boolean, object or array, string that its schema allows and `text`
/// fits; if none does, what `text` is as JSON, unless that is null, else a string. Numbers keep
/// their digits, but 5.0 is 5; what no double can hold is no number. Within objects and arrays the
/// same holds for strings that should be something else; of a key that stands there twice the last
/// value counts.
std::string argument_json(std::string_view text, const ArgumentSchema& schema,
                          ArgumentSchemas& schemas);

/// Appends what stands between the quotes of a JSON string.
void append_json_escaped(std::string& json, std::string_view text);

}  // namespace tetrad
