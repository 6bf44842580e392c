#include "text/added_tokens.h"

#include <fmt/core.h>

#include <algorithm>
#include <ranges>
#include <utility>

#include "text/file_fields.h"
#include "text/utf8.h"

namespace tetrad {
namespace {

using namespace file_fields;

Result<AddedToken> read_added_token(const json::value& value, const std::string& where) {
  TETRAD_ASSIGN(const json::object* object, as_object(value, where));
  AddedToken token;
  TETRAD_ASSIGN(const json::value* id, member(*object, "id", where));
  TETRAD_ASSIGN(token.id, token_id(*id).map_error([&where](Error&& error) {
    return std::move(error).in(where + ".id");
  }));
  TETRAD_ASSIGN(token.content, string_member(*object, "content", where));
  if (token.content.empty()) return fail(ErrorCode::corrupt_data, "{}.content is empty", where);
  TETRAD_ASSIGN(token.special, bool_member_or(*object, "special", false, where));
  TETRAD_ASSIGN(token.strip_left, bool_member_or(*object, "lstrip", false, where));
  TETRAD_ASSIGN(token.strip_right, bool_member_or(*object, "rstrip", false, where));
  TETRAD_ASSIGN(token.normalized, bool_member_or(*object, "normalized", false, where));
  TETRAD_ASSIGN(const bool single_word, bool_member_or(*object, "single_word", false, where));
  if (single_word) {
    return fail(ErrorCode::unsupported, "{} ({}): single_word true is not supported", where,
                token.content);
  }
  return token;
}

}  // namespace

Result<std::vector<AddedToken>> read_added_tokens(const json::value& added_tokens) {
  TETRAD_ASSIGN(const json::array* array, as_array(added_tokens, "added_tokens"));
  std::vector<AddedToken> tokens;
  tokens.reserve(array->size());
  for (const json::value& value : *array) {
    TETRAD_ASSIGN(AddedToken token,
                  read_added_token(value, fmt::format("added_tokens[{}]", tokens.size())));
    tokens.push_back(std::move(token));
  }
  return tokens;
}

AddedTokenFinder::AddedTokenFinder(std::span<const AddedToken> tokens)
    : plain_(make_set(tokens, false)), normalized_(make_set(tokens, true)) {}

AddedTokenFinder::Set AddedTokenFinder::make_set(std::span<const AddedToken> tokens,
                                                 bool normalized) {
  Set set;
  std::ranges::copy_if(tokens, std::back_inserter(set.tokens),
                       [normalized](const AddedToken& t) { return t.normalized == normalized; });
  // string compares bytes as unsigned, so the byte ranges below are contiguous and in order.
  std::ranges::sort(set.tokens, {}, &AddedToken::content);
  for (const AddedToken& token : set.tokens) {
    ++set.first[static_cast<uint8_t>(token.content[0]) + size_t{1}];
  }
  for (size_t byte = 0; byte < 256; ++byte)
    set.first[byte + 1] += set.first[byte];
  return set;
}

const AddedToken* AddedTokenFinder::longest_at(const Set& set, std::string_view text, size_t at) {
  const auto byte = static_cast<uint8_t>(text[at]);
  std::span<const AddedToken> candidates(set.tokens.begin() + set.first[byte],
                                         set.tokens.begin() + set.first[byte + size_t{1}]);
  const AddedToken* longest = nullptr;
  // Candidates agree with the text in their first `length` bytes; the one that ends there is first.
  for (size_t length = 1; !candidates.empty(); ++length) {
    if (candidates.front().content.size() == length) {
      longest = &candidates.front();
      candidates = candidates.subspan(1);
    }
    if (at + length == text.size()) break;
    const auto next_byte = [length](const AddedToken& token) {
      return static_cast<uint8_t>(token.content[length]);
    };
    const auto same = std::ranges::equal_range(candidates, static_cast<uint8_t>(text[at + length]),
                                               {}, next_byte);
    candidates = {same.begin(), same.end()};
  }
  return longest;
}

void AddedTokenFinder::split_by(const Set& set, std::string_view text,
                                std::vector<TextSegment>& segments) {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token = longest_at(set, text, at);
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t start = at;
    size_t end = at + token->content.size();
    if (token->strip_left) start -= trailing_white_space(text.substr(done, at - done));
    if (token->strip_right) end += leading_white_space(text.substr(end));
    if (start > done) segments.push_back({text.substr(done, start - done), std::nullopt});
    segments.push_back({text.substr(start, end - start), token->id});
    at = done = end;
  }
  if (done < text.size()) segments.push_back({text.substr(done), std::nullopt});
}

std::vector<TextSegment> AddedTokenFinder::split(std::string_view text) const {
  std::vector<TextSegment> found;
  split_by(plain_, text, found);
  if (normalized_.tokens.empty()) return found;
  std::vector<TextSegment> result;
  for (const TextSegment& segment : found) {
    if (segment.added_token) {
      result.push_back(segment);
    } else {
      split_by(normalized_, segment.text, result);
    }
  }
  return result;
}

}  // namespace tetrad
