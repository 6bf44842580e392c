#pragma once

// Keeps what a client writes from becoming a control token: "]~b]" in a message is four characters,
// "]~b]" from the template is the role token.

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "chat/conversation.h"
#include "text/tokenizer.h"

namespace tetrad {

/// A template sees only strings, so provenance travels inside them: before rendering, a character
/// that Unicode reserves for such use (U+FDD0 to U+FDEF, and one that no input contains) goes
/// behind the first byte of every control token spelled in the input; after rendering it comes out
/// again.
class ControlTokenMarker {
 public:
  /// Error: the input uses up all 32 reserved characters.
  static Result<ControlTokenMarker> create(const Tokenizer& tokenizer, const json::object& input);

  /// The same values with every control token in their strings and keys marked.
  json::object mark(const json::object& input) const;
  /// The rendered text without marks, cut so that marked tokens stand alone.
  std::vector<PromptSegment> split(std::string_view rendered) const;

 private:
  std::string mark_text(std::string_view text) const;
  json::value mark_value(const json::value& value) const;
  std::string_view token_at(std::string_view text, size_t position) const;

  std::vector<std::string_view> tokens_;  // special ones, longest first
  std::string mark_;
  std::string escaped_mark_;  // as a tojson that escapes non-ASCII writes it
};

}  // namespace tetrad
