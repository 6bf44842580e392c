#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "text/token_id.h"

namespace tetrad {

/// A token that stands for its content wherever it occurs in a text: one of "added_tokens".
struct AddedToken {
  TokenId id = -1;
  std::string content;
  bool special = false;     // left out by a decoder that skips special tokens
  bool strip_left = false;  // takes the white space before it / after it with it
  bool strip_right = false;
  bool normalized = false;  // looked for after the others, in what they left
};

/// Reads the array "added_tokens"; `single_word` is refused as unsupported.
Result<std::vector<AddedToken>> read_added_tokens(const json::value& added_tokens);

/// A stretch of a text: an added token, or text between two of them.
struct TextSegment {
  std::string_view text;
  std::optional<TokenId> added_token;
};

/// Finds added tokens in a text: from left to right, at each place the longest.
class AddedTokenFinder {
 public:
  explicit AddedTokenFinder(std::span<const AddedToken> tokens);

  std::vector<TextSegment> split(std::string_view text) const;

 private:
  /// Tokens sorted by content: the candidates that share a prefix are neighbours.
  struct Set {
    std::vector<AddedToken> tokens;
    std::array<size_t, 257> first{};  // tokens[first[b], first[b + 1]) start with the byte b
  };
  static Set make_set(std::span<const AddedToken> tokens, bool normalized);
  static const AddedToken* longest_at(const Set& set, std::string_view text, size_t at);
  static void split_by(const Set& set, std::string_view text, std::vector<TextSegment>& segments);

  Set plain_;
  Set normalized_;
};

}  // namespace tetrad
