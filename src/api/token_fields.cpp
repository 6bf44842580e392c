#include "api/token_fields.h"

#include <charconv>
#include <limits>

namespace tetrad::api {
namespace {

constexpr size_t kMaxAllowedTokenIds = 65'536;
constexpr size_t kMaxLogitBiases = 1024;
constexpr double kMaxLogitBias = 100;
constexpr size_t kMaxBadWords = 128;
constexpr size_t kMaxBadWordBytes = 256;

/// The key of a bias: digits and nothing else, so that no two keys mean the same token.
std::optional<TokenId> parse_token_id(std::string_view text) {
  TokenId id = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), id);
  const bool canonical = text == "0" || !(text.starts_with('0') || text.starts_with('-'));
  if (ec != std::errc() || end != text.data() + text.size() || !canonical) return std::nullopt;
  return id;
}

std::string_view without_leading_space(std::string_view word) {
  const size_t begin = word.find_first_not_of(" \t\n\v\f\r");
  return begin == std::string_view::npos ? "" : word.substr(begin);
}

}  // namespace

std::optional<TokenId> as_token_id(const json::value& value) {
  const std::optional<int64_t> id = as_integer(value);
  if (!id || *id < 0 || *id > std::numeric_limits<TokenId>::max()) return std::nullopt;
  return static_cast<TokenId>(*id);
}

Result<std::vector<TokenId>> read_token_ids(FieldReader& fields, std::string_view name,
                                            size_t max_count) {
  std::vector<TokenId> ids;
  TETRAD_ASSIGN(const json::array* values, fields.array(name));
  if (values == nullptr) return ids;
  if (values->size() > max_count) {
    return fail_param(name, "\"{}\" may hold at most {} ids, not {}", name, max_count,
                      values->size());
  }
  ids.reserve(values->size());
  for (const json::value& value : *values) {
    const std::optional<TokenId> id = as_token_id(value);
    if (!id) return fail_param(name, "\"{}\": {} is not a token id", name, to_json_text(value));
    ids.push_back(*id);
  }
  return ids;
}

Result<std::vector<TokenId>> read_allowed_token_ids(FieldReader& fields) {
  constexpr std::string_view kName = "allowed_token_ids";
  TETRAD_ASSIGN(std::vector<TokenId> ids, read_token_ids(fields, kName, kMaxAllowedTokenIds));
  if (ids.empty() && fields.find(kName) != nullptr) {
    return fail_param(kName, "\"{}\" is empty and would allow no token; leave it out to allow all",
                      kName);
  }
  return ids;
}

Result<std::vector<LogitBias>> read_logit_bias(FieldReader& fields) {
  constexpr std::string_view kName = "logit_bias";
  std::vector<LogitBias> biases;
  TETRAD_ASSIGN(const json::object* object, fields.object(kName));
  if (object == nullptr) return biases;
  if (object->size() > kMaxLogitBiases) {
    return fail_param(kName, "\"{}\" may name at most {} tokens, not {}", kName, kMaxLogitBiases,
                      object->size());
  }
  FieldReader members(*object, "logit_bias.");
  for (const auto& member : *object) {
    const std::optional<TokenId> id = parse_token_id(member.key());
    if (!id) {
      return fail_param(kName, "\"{}\": the key {} is not a token id", kName,
                        to_json_text(json::value(member.key())));
    }
    TETRAD_ASSIGN(const std::optional<double> bias,
                  members.number(member.key(), {.min = -kMaxLogitBias, .max = kMaxLogitBias}));
    if (!bias) return wrong_kind(members.full_name(member.key()), "a number", member.value());
    biases.push_back({.id = *id, .bias = static_cast<float>(*bias)});
  }
  return biases;
}

Result<std::vector<std::string>> read_bad_words(FieldReader& fields) {
  constexpr std::string_view kName = "bad_words";
  std::vector<std::string> words;
  TETRAD_ASSIGN(const json::array* values, fields.array(kName));
  if (values == nullptr) return words;
  if (values->size() > kMaxBadWords) {
    return fail_param(kName, "\"{}\" may hold at most {} words, not {}", kName, kMaxBadWords,
                      values->size());
  }
  for (const json::value& value : *values) {
    if (!value.is_string()) return wrong_kind(kName, "an array of strings", value);
    const std::string_view word = without_leading_space(value.get_string());
    if (word.empty() || word.size() > kMaxBadWordBytes) {
      return fail_param(kName,
                        "\"{}\": a word must be 1 to {} bytes long without the space before it, "
                        "this one has {}",
                        kName, kMaxBadWordBytes, word.size());
    }
    words.emplace_back(word);
  }
  return words;
}

Result<std::vector<std::vector<TokenId>>> bad_word_tokens(const Tokenizer& tokenizer,
                                                          std::span<const std::string> words) {
  std::vector<std::vector<TokenId>> sequences;
  for (const std::string& word : words) {
    for (const std::string& spelling : {word, " " + word}) {
      TETRAD_ASSIGN(std::vector<TokenId> ids, tokenizer.encode(spelling));
      sequences.push_back(std::move(ids));
    }
  }
  return sequences;
}

}  // namespace tetrad::api
