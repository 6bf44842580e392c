#include "text/tokenizer.h"

#include <unordered_map>
#include <utility>

#include "base/mapped_file.h"
#include "text/added_tokens.h"
#include "text/byte_pair_encoder.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_file.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace tetrad {
namespace {

/// The encoder counts the bytes of a piece, which may be the whole text, in 32 bits.
constexpr size_t kMaxTextSize = UINT32_MAX - 1;

}  // namespace

struct Tokenizer::Impl {
  Vocabulary vocabulary;
  PreTokenizer pre_tokenizer;
  BytePairEncoder encoder;
  AddedTokenFinder finder;
  std::unordered_map<std::string, TokenId> added_by_content;
  std::vector<bool> is_special;  // by id
  std::vector<bool> is_added;    // by id
  /// With ignore_merges, the tokens that a whole piece may be; keys are views into `vocabulary`.
  std::unordered_map<std::string_view, TokenId> whole_pieces;

  Impl(TokenizerFile file, BytePairEncoder ready_encoder);
  Result<void> encode_text(std::string_view text, BytePairEncoder::Workspace& workspace,
                           std::vector<TokenId>& ids) const;
  std::string bytes_of(std::span<const TokenId> ids, bool skip_special_tokens) const;
};

Tokenizer::Impl::Impl(TokenizerFile file, BytePairEncoder ready_encoder)
    : vocabulary(std::move(file.vocabulary)),
      pre_tokenizer(std::move(file.pre_tokenizer)),
      encoder(std::move(ready_encoder)),
      finder(file.added_tokens),
      is_special(vocabulary.end(), false),
      is_added(vocabulary.end(), false) {
  for (AddedToken& token : file.added_tokens) {
    is_special[token.id] = token.special;
    is_added[token.id] = true;
    added_by_content.emplace(std::move(token.content), token.id);
  }
  for (const TokenId id : file.byte_level_tokens)
    whole_pieces.emplace(vocabulary.bytes(id), id);
}

Result<void> Tokenizer::Impl::encode_text(std::string_view text,
                                          BytePairEncoder::Workspace& workspace,
                                          std::vector<TokenId>& ids) const {
  TETRAD_ASSIGN(const auto pieces, pre_tokenizer.split(text));
  for (const std::string_view piece : pieces) {
    if (const auto whole = whole_pieces.find(piece); whole != whole_pieces.end()) {
      ids.push_back(whole->second);
    } else {
      encoder.encode(piece, workspace, ids);
    }
  }
  return {};
}

std::string Tokenizer::Impl::bytes_of(std::span<const TokenId> ids,
                                      bool skip_special_tokens) const {
  std::string bytes;
  for (const TokenId id : ids) {
    if (vocabulary.contains(id) && !(skip_special_tokens && is_special[id])) {
      bytes += vocabulary.bytes(id);
    }
  }
  return bytes;
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::from_file(const std::filesystem::path& tokenizer_json) {
  TETRAD_ASSIGN(const std::string text, read_text_file(tokenizer_json));
  Result<Tokenizer> tokenizer =
      parse_json(text).and_then([](const json::value& value) { return from_json(value); });
  if (!tokenizer) {
    return tl::unexpected<Error>(std::move(tokenizer.error()).in(tokenizer_json.string()));
  }
  return tokenizer;
}

Result<Tokenizer> Tokenizer::from_json(const json::value& tokenizer_json) {
  TETRAD_ASSIGN(TokenizerFile file, read_tokenizer_file(tokenizer_json));
  TETRAD_ASSIGN(BytePairEncoder encoder,
                BytePairEncoder::create(file.byte_tokens, std::move(file.merges)));
  return Tokenizer(std::make_unique<Impl>(std::move(file), std::move(encoder)));
}

Result<std::vector<TokenId>> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  if (text.size() > kMaxTextSize) {
    return fail(ErrorCode::resource_exhausted, "the text has {} bytes, at most {} can be encoded",
                text.size(), kMaxTextSize);
  }
  if (const auto offset = find_invalid_utf8(text)) {
    return fail(ErrorCode::invalid_argument, "the text is not valid UTF-8 at byte {}", *offset);
  }
  std::vector<TokenId> ids;
  BytePairEncoder::Workspace workspace;
  if (special == SpecialTokens::ignore) {
    TETRAD_TRY(impl_->encode_text(text, workspace, ids));
    return ids;
  }
  for (const TextSegment& segment : impl_->finder.split(text)) {
    if (segment.added_token) {
      ids.push_back(*segment.added_token);
    } else {
      TETRAD_TRY(impl_->encode_text(segment.text, workspace, ids));
    }
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  std::string text;
  append_lossy_utf8(impl_->bytes_of(ids, skip_special_tokens), text);
  return text;
}

std::string_view Tokenizer::token_bytes(TokenId id) const {
  return impl_->vocabulary.bytes(id);
}

bool Tokenizer::is_special(TokenId id) const {
  return impl_->vocabulary.contains(id) && impl_->is_special[id];
}

bool Tokenizer::is_added(TokenId id) const {
  return impl_->vocabulary.contains(id) && impl_->is_added[id];
}

std::optional<TokenId> Tokenizer::find_added_token(std::string_view content) const {
  const auto found = impl_->added_by_content.find(std::string(content));
  if (found == impl_->added_by_content.end()) return std::nullopt;
  return found->second;
}

int64_t Tokenizer::vocab_size() const {
  return impl_->vocabulary.end();
}

}  // namespace tetrad
