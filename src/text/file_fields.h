#pragma once

// Reading tokenizer.json: typed members with errors that name their place in the file, as in
// "decoder.type".

#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "text/token_id.h"

namespace tetrad::file_fields {

Result<const json::object*> as_object(const json::value& value, std::string_view where);
Result<const json::array*> as_array(const json::value& value, std::string_view where);

/// The member `key` of the object at `where` ("" for the whole file); an error when it is missing.
Result<const json::value*> member(const json::object& object, std::string_view key,
                                  std::string_view where);
/// Null when the member is missing or null.
const json::value* member_if_set(const json::object& object, std::string_view key);

/// The error does not name the place: where there are 200,000 ids, only a failure may cost a text.
Result<TokenId> token_id(const json::value& value);

Result<std::string_view> string_member(const json::object& object, std::string_view key,
                                       std::string_view where);
Result<bool> bool_member_or(const json::object& object, std::string_view key, bool fallback,
                            std::string_view where);

}  // namespace tetrad::file_fields
