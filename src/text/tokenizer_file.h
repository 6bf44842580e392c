#pragma once

#include <array>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "text/added_tokens.h"
#include "text/byte_pair_encoder.h"
#include "text/pre_tokenizer.h"
#include "text/token_id.h"
#include "text/vocabulary.h"

namespace tetrad {

/// A tokenizer.json, read and checked: what is in here is consistent, and everything in the file
/// that would change an encoding or decoding is understood. What is not is refused with an error
/// that names the field.
struct TokenizerFile {
  Vocabulary vocabulary;                   // model.vocab and added_tokens
  std::array<TokenId, 256> byte_tokens{};  // the token of each single byte
  std::vector<Merge> merges;               // by rank
  /// A piece that is a token as a whole becomes this token without merging.
  bool ignore_merges = false;
  /// The tokens of model.vocab, for ignore_merges: those that stand for bytes.
  std::vector<TokenId> byte_level_tokens;
  std::vector<AddedToken> added_tokens;
  PreTokenizer pre_tokenizer;
};

Result<TokenizerFile> read_tokenizer_file(const json::value& tokenizer_json);

}  // namespace tetrad
