#include "text/tokenizer_file.h"

#include <fmt/core.h>

#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "text/byte_alphabet.h"
#include "text/file_fields.h"

namespace tetrad {
namespace {

using namespace file_fields;

/// A member that this tokenizer can do without: missing, null, or of the one type that changes
/// nothing here.
Result<void> check_absent_or_byte_level(const json::object& file, std::string_view key) {
  const json::value* value = member_if_set(file, key);
  if (value == nullptr) return {};
  TETRAD_ASSIGN(const json::object* object, as_object(*value, key));
  TETRAD_ASSIGN(const std::string_view type, string_member(*object, "type", key));
  if (type == "ByteLevel") return {};
  return fail(ErrorCode::unsupported, "{}.type \"{}\" is not supported, only \"ByteLevel\"", key,
              type);
}

Result<void> check_absent(const json::object& file, std::string_view key) {
  if (member_if_set(file, key) == nullptr) return {};
  return fail(ErrorCode::unsupported, "{} is not supported, only null", key);
}

/// Everything around the model that would change ids or text.
Result<void> check_surroundings(const json::object& file) {
  if (const json::value* version = member_if_set(file, "version")) {
    if (*version != "1.0") {
      return fail(ErrorCode::unsupported, "version {} is not supported, only \"1.0\"",
                  to_json_text(*version));
    }
  }
  TETRAD_TRY(check_absent(file, "truncation"));
  TETRAD_TRY(check_absent(file, "padding"));
  TETRAD_TRY(check_absent(file, "normalizer"));
  // A ByteLevel post-processor only moves offsets, which nobody asks for here. Others add tokens.
  TETRAD_TRY(check_absent_or_byte_level(file, "post_processor"));
  if (member_if_set(file, "decoder") == nullptr) {
    return fail(ErrorCode::unsupported, "decoder is missing: only \"ByteLevel\" is supported");
  }
  return check_absent_or_byte_level(file, "decoder");
}

/// The settings of "model" beside vocab and merges. unk_token and fuse_unk have no effect where
/// every byte has a token.
Result<void> check_plain_bpe(const json::object& model) {
  if (const json::value* type = member_if_set(model, "type"); type != nullptr && *type != "BPE") {
    return fail(ErrorCode::unsupported, "model.type {} is not supported, only \"BPE\"",
                to_json_text(*type));
  }
  if (const json::value* dropout = member_if_set(model, "dropout")) {
    json::error_code ec;
    if (dropout->to_number<double>(ec) != 0 || ec) {
      return fail(ErrorCode::unsupported, "model.dropout {} is not supported, only null or 0",
                  to_json_text(*dropout));
    }
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const json::value* affix = member_if_set(model, key);
    if (affix != nullptr && *affix != "") {
      return fail(ErrorCode::unsupported, "model.{} {} is not supported, only null or \"\"", key,
                  to_json_text(*affix));
    }
  }
  TETRAD_ASSIGN(const bool byte_fallback, bool_member_or(model, "byte_fallback", false, "model"));
  if (byte_fallback) {
    return fail(ErrorCode::unsupported,
                "model.byte_fallback true is not supported: only byte-level vocabularies are");
  }
  return {};
}

/// An id of model.vocab, which read_vocab() has checked.
std::optional<TokenId> find_token(const json::object& vocab, std::string_view written) {
  const json::value* id = vocab.if_contains(written);
  if (id == nullptr) return std::nullopt;
  return id->to_number<TokenId>();
}

Error duplicate_id(const json::object& vocab, TokenId id, std::string_view second) {
  for (const auto& [written, value] : vocab) {
    if (value == id && written != second) {
      return {ErrorCode::corrupt_data,
              fmt::format("model.vocab: \"{}\" and \"{}\" have the same id {}",
                          std::string_view(written), second, id),
              ""};
    }
  }
  return {ErrorCode::internal, fmt::format("the id {} was thought to be used twice", id), ""};
}

Result<void> read_vocab(const json::object& vocab, TokenizerFile& result) {
  for (const auto& [key, value] : vocab) {
    const std::string_view written = key;
    Result<TokenId> id = token_id(value);
    if (!id) {
      return tl::unexpected<Error>(
          std::move(id.error()).in(fmt::format("model.vocab[\"{}\"]", written)));
    }
    if (result.vocabulary.contains(*id)) {
      return tl::unexpected<Error>(duplicate_id(vocab, *id, written));
    }
    const bool byte_level = result.vocabulary.add(*id, written);
    if (byte_level && result.ignore_merges) result.byte_level_tokens.push_back(*id);
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    const std::string_view written = alphabet_character(static_cast<uint8_t>(byte));
    const std::optional<TokenId> id = find_token(vocab, written);
    if (!id) {
      return fail(ErrorCode::corrupt_data,
                  "model.vocab has no token for the byte 0x{:02X} (written \"{}\"); a byte-level "
                  "vocabulary has all 256",
                  byte, written);
    }
    result.byte_tokens[byte] = *id;
  }
  return {};
}

/// The two sides of a merge, written "a b" or ["a", "b"].
Result<std::pair<std::string_view, std::string_view>> merge_sides(const json::value& merge,
                                                                  size_t index) {
  if (const json::string* text = merge.if_string()) {
    const std::string_view both = *text;
    const size_t space = both.find(' ');
    if (space != std::string_view::npos && both.find(' ', space + 1) == std::string_view::npos) {
      return std::pair(both.substr(0, space), both.substr(space + 1));
    }
  } else if (const json::array* sides = merge.if_array(); sides != nullptr && sides->size() == 2 &&
                                                          (*sides)[0].is_string() &&
                                                          (*sides)[1].is_string()) {
    return std::pair<std::string_view, std::string_view>((*sides)[0].get_string(),
                                                         (*sides)[1].get_string());
  }
  return fail(ErrorCode::corrupt_data, "model.merges[{}] must be \"a b\" or [\"a\", \"b\"]", index);
}

/// Old files keep the first line of merges.txt.
bool is_version_line(const json::value& merge) {
  const json::string* text = merge.if_string();
  return text != nullptr && text->starts_with("#version");
}

Result<void> read_merges(const json::array& merges, const json::object& vocab,
                         TokenizerFile& result) {
  result.merges.reserve(merges.size());
  std::string joined;
  for (size_t i = 0; i < merges.size(); ++i) {
    if (is_version_line(merges[i])) continue;
    TETRAD_ASSIGN(const auto sides, merge_sides(merges[i], i));
    joined.assign(sides.first).append(sides.second);
    Merge merge;
    for (const auto& [written, id] :
         {std::pair(sides.first, &merge.left), std::pair(sides.second, &merge.right),
          std::pair(std::string_view(joined), &merge.result)}) {
      const std::optional<TokenId> found = find_token(vocab, written);
      if (!found) {
        return fail(ErrorCode::corrupt_data,
                    "model.merges[{}] joins \"{}\" and \"{}\", but \"{}\" is not in model.vocab", i,
                    sides.first, sides.second, written);
      }
      *id = *found;
    }
    result.merges.push_back(merge);
  }
  return {};
}

/// An added token may stand in model.vocab too, then with the same id.
Result<void> add_added_tokens(const json::object& vocab, TokenizerFile& result) {
  std::unordered_set<std::string_view> contents;
  for (size_t i = 0; i < result.added_tokens.size(); ++i) {
    const AddedToken& token = result.added_tokens[i];
    if (!contents.insert(token.content).second) {
      return fail(ErrorCode::corrupt_data, "added_tokens[{}]: \"{}\" is there twice", i,
                  token.content);
    }
    const std::optional<TokenId> in_vocab = find_token(vocab, token.content);
    if (in_vocab && *in_vocab != token.id) {
      return fail(ErrorCode::corrupt_data,
                  "added_tokens[{}]: \"{}\" has the id {}, but {} in model.vocab", i, token.content,
                  token.id, *in_vocab);
    }
    if (!in_vocab && result.vocabulary.contains(token.id)) {
      return fail(
          ErrorCode::corrupt_data,
          "added_tokens[{}]: \"{}\" has the id {}, which is already the id of another token", i,
          token.content, token.id);
    }
    result.vocabulary.add(token.id, token.content);
  }
  return {};
}

}  // namespace

Result<TokenizerFile> read_tokenizer_file(const json::value& tokenizer_json) {
  TETRAD_ASSIGN(const json::object* file, as_object(tokenizer_json, "a tokenizer.json"));
  TETRAD_TRY(check_surroundings(*file));
  TETRAD_ASSIGN(const json::value* model_value, member(*file, "model", ""));
  TETRAD_ASSIGN(const json::object* model, as_object(*model_value, "model"));
  TETRAD_TRY(check_plain_bpe(*model));

  TokenizerFile result;
  TETRAD_ASSIGN(const json::value* pre_tokenizer, member(*file, "pre_tokenizer", ""));
  TETRAD_ASSIGN(result.pre_tokenizer, PreTokenizer::from_json(*pre_tokenizer));
  TETRAD_ASSIGN(result.ignore_merges, bool_member_or(*model, "ignore_merges", false, "model"));
  TETRAD_ASSIGN(const json::value* vocab_value, member(*model, "vocab", "model"));
  TETRAD_ASSIGN(const json::object* vocab, as_object(*vocab_value, "model.vocab"));
  TETRAD_TRY(read_vocab(*vocab, result));
  TETRAD_ASSIGN(const json::value* merges_value, member(*model, "merges", "model"));
  TETRAD_ASSIGN(const json::array* merges, as_array(*merges_value, "model.merges"));
  TETRAD_TRY(read_merges(*merges, *vocab, result));
  if (const json::value* added = member_if_set(*file, "added_tokens")) {
    TETRAD_ASSIGN(result.added_tokens, read_added_tokens(*added));
  }
  TETRAD_TRY(add_added_tokens(*vocab, result));
  return result;
}

}  // namespace tetrad
