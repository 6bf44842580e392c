#pragma once

// Keeps the spelling of a control token, when a client writes it, from becoming that token.
//
// The strings that come from the client are marked where they spell a special token, or the
// beginning or end of one; the template renders the marked strings; then the marks are taken out of
// the text again and tell which stretches of it are only text.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "chat/conversation.h"

namespace tetrad {

/// The spellings of all special tokens of a vocabulary.
std::vector<std::string> special_token_texts(const Tokenizer& tokenizer);

class ControlTokenMarks {
 public:
  /// `plain_text` and `client_values`: all the text that marks must not be confused with.
  ControlTokenMarks(std::vector<std::string> tokens, std::string_view plain_text,
                    const json::value& client_values);

  enum class Which {
    whole,           // complete spellings only
    whole_and_part,  // also what could become a token together with text next to it
  };

  /// The value with marks in all of its strings, and around complete spellings in its keys.
  json::value mark(const json::value& value, Which which) const;
  /// Whether mark() found a spelling of a token, complete or (with whole_and_part) not.
  bool has_marks(const json::value& value, Which which) const;

  /// Takes the marks out of a rendered text. Nothing if they did not survive the template in pairs,
  /// or if the rest differs from `plain_text`: then the template looks into the marked strings.
  std::optional<std::vector<PromptSegment>> segments(std::string_view marked_text,
                                                     std::string_view plain_text) const;

 private:
  struct Range {
    size_t begin;
    size_t end;
  };

  std::vector<Range> ranges_of(std::string_view text, Which which) const;
  std::vector<Range> token_occurrences(std::string_view text) const;
  std::string mark_text(std::string_view text, Which which) const;

  std::vector<std::string> tokens_;
  // Marks as they are and as JSON or repr() escape them.
  std::string open_;
  std::string close_;
  std::string escaped_open_;
  std::string escaped_close_;
};

}  // namespace tetrad
