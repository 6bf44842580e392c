#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "text/token_id.h"

namespace tetrad {

enum class SpecialTokens {
  parse,   // added tokens in the text become their ids: what a rendered chat template needs
  ignore,  // the text is only text
};

/// Byte-level BPE from a tokenizer.json (minimax-m2 spec, section 4). Immutable after loading:
/// any number of threads may encode and decode at once.
class Tokenizer {
 public:
  static Result<Tokenizer> from_file(const std::filesystem::path& tokenizer_json);
  static Result<Tokenizer> from_json(const json::value& tokenizer_json);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Text that is not valid UTF-8 is an error that names the byte offset.
  Result<std::vector<TokenId>> encode(std::string_view text,
                                      SpecialTokens special = SpecialTokens::parse) const;

  /// Bytes of incomplete or invalid UTF-8 become U+FFFD, as the reference tokenizer writes them.
  /// Ids without a token (unused rows, out of range) decode to nothing.
  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const;

  /// The raw bytes of one token; empty for an id without a token.
  std::string_view token_bytes(TokenId id) const;
  bool is_special(TokenId id) const;
  /// Whether the id is one of the file's added tokens, special or not.
  bool is_added(TokenId id) const;
  std::optional<TokenId> find_added_token(std::string_view content) const;
  /// One past the largest id that has a token.
  int64_t vocab_size() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Turns a stream of ids into text without ever emitting part of a UTF-8 character: the pieces,
/// put together, equal Tokenizer::decode() of all ids.
class StreamingDecoder {
 public:
  StreamingDecoder(const Tokenizer& tokenizer, bool skip_special_tokens);

  /// Text that became complete with this id; often empty inside a multi-byte character.
  std::string push(TokenId id);
  /// What is left at the end of the stream, incomplete bytes as U+FFFD.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::string pending_;
};

}  // namespace tetrad
