#pragma once

// Request fields that speak of tokens: by id, or as words that become ids.

#include <span>
#include <string>
#include <vector>

#include "api/field_reader.h"
#include "engine/request.h"
#include "text/tokenizer.h"

namespace tetrad::api {

/// `value` as a token id, or nothing. Whether the vocabulary has it is the engine's to say.
std::optional<TokenId> as_token_id(const json::value& value);

/// An array of token ids; empty where the field is absent.
Result<std::vector<TokenId>> read_token_ids(FieldReader& fields, std::string_view name,
                                            size_t max_count);

/// As read_token_ids(), but an empty array, which would allow nothing, is an error.
Result<std::vector<TokenId>> read_allowed_token_ids(FieldReader& fields);

/// "logit_bias": {"<token id>": -100 to 100, …}.
Result<std::vector<LogitBias>> read_logit_bias(FieldReader& fields);

/// "bad_words": ["word", …].
Result<std::vector<std::string>> read_bad_words(FieldReader& fields);

/// The token sequences that spell each word at the beginning of a text and, with a space in front,
/// inside of one.
Result<std::vector<std::vector<TokenId>>> bad_word_tokens(const Tokenizer& tokenizer,
                                                          std::span<const std::string> words);

}  // namespace tetrad::api
