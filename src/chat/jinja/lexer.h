#pragma once

// Template source to tokens, with the whitespace rules of trim_blocks and lstrip_blocks.

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "chat/jinja/value.h"

namespace tetrad::jinja {

enum class TokenType : uint8_t {
  data,            // text outside of tags
  block_begin,     // {%
  block_end,       // %}
  variable_begin,  // {{
  variable_end,    // }}
  name,
  string,
  integer,
  floating,
  op,  // text holds the operator: "+", "//", "(", …
  end,
};

struct Token {
  TokenType type = TokenType::end;
  int line = 1;
  /// Data, name, operator, or the string with its escapes resolved.
  std::string text;
  /// The number.
  Value number;

  bool is_name(std::string_view name) const { return type == TokenType::name && text == name; }
  bool is_op(std::string_view symbol) const { return type == TokenType::op && text == symbol; }
};

/// For messages: "name 'x'", "end of the template".
std::string describe(const Token& token);

/// ErrorCode::corrupt_data with "line N: " for what is no template. The last token is `end`.
Result<std::vector<Token>> tokenize(std::string_view source);

/// fail(ErrorCode::corrupt_data, …) for a place in the template source.
template <class... Args>
tl::unexpected<Error> syntax_error(int line, fmt::format_string<Args...> format, Args&&... args) {
  return fail(ErrorCode::corrupt_data, "chat template line {}: {}", line,
              fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace tetrad::jinja
