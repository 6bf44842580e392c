#include "chat/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "chat/jinja/number_text.h"
#include "chat/jinja/string_literal.h"
#include "chat/jinja/unicode.h"
#include "text/utf8.h"

namespace tetrad::jinja {
namespace {

constexpr std::array<std::string_view, 26> kOperators = {
    "**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
    "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

/// How a tag trims the text around it: "{%-", "%}" and so on.
enum class Trim : uint8_t { none, all, keep };

/// Line ends become \n, and one at the very end is dropped.
std::string normalised_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool is_blank(std::string_view text) {
  for (size_t position = 0; position < text.size();) {
    if (!is_space(decode_code_point(text, position))) return false;
  }
  return true;
}

/// The text without white space at its end.
std::string_view strip_end(std::string_view text) {
  size_t end = 0;
  for (size_t position = 0; position < text.size();) {
    if (!is_space(decode_code_point(text, position))) end = position;
  }
  return text.substr(0, end);
}

bool is_ascii_digit(char c) {
  return c >= '0' && c <= '9';
}

bool starts_name(char32_t c) {
  return c == U'_' || is_alpha(c);
}

/// The end of digits of a base, with single underscores in front of any of them.
size_t digits_end(std::string_view text, size_t from, std::string_view digits) {
  size_t end = from;
  while (end < text.size()) {
    const size_t digit = text[end] == '_' ? end + 1 : end;
    if (digit >= text.size() || digits.find(text[digit]) == std::string_view::npos) break;
    end = digit + 1;
  }
  return end;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  Result<std::vector<Token>> run() {
    while (position_ < source_.size())
      TETRAD_TRY(root());
    tokens_.push_back({TokenType::end, line_, "", {}});
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return source_.substr(position_); }
  bool at(std::string_view text) const { return rest().starts_with(text); }

  void advance(size_t bytes) {
    const std::string_view passed = source_.substr(position_, bytes);
    line_ += static_cast<int>(std::count(passed.begin(), passed.end(), '\n'));
    position_ += passed.size();
  }
  void add(TokenType type, std::string_view text) {
    tokens_.push_back({type, line_, std::string(text), {}});
  }
  void skip_space() {
    while (position_ < source_.size()) {
      size_t after = position_;
      if (!is_space(decode_code_point(source_, after))) return;
      advance(after - position_);
    }
  }

  Result<void> root();
  Result<void> comment();
  Result<bool> raw();
  Result<void> code(TokenType end_type);
  bool close_tag(std::string_view end);
  Result<void> token();
  Result<void> string_token();
  Result<bool> number_token();
  bool float_token();
  bool name_token();
  Result<void> operator_token();
  void add_text(std::string_view text, Trim trim, bool is_variable);
  Trim sign_at(size_t position) const;
  void skip_sign() {
    if (sign_at(position_) != Trim::none) advance(1);
  }

  std::string_view source_;
  size_t position_ = 0;
  int line_ = 1;
  /// The text that follows starts a line: at the beginning, or behind a tag that took a newline.
  bool line_starting_ = true;
  std::vector<char> open_brackets_;
  std::vector<Token> tokens_;
};

/// The sign behind "{%", "{{" or "{#".
Trim Lexer::sign_at(size_t position) const {
  const char sign = position < source_.size() ? source_[position] : ' ';
  return sign == '-' ? Trim::all : sign == '+' ? Trim::keep : Trim::none;
}

/// Text in front of a tag, as much as the tag leaves of it.
void Lexer::add_text(std::string_view text, Trim trim, bool is_variable) {
  std::string_view kept = text;
  if (trim == Trim::all) {
    kept = strip_end(text);
  } else if (trim == Trim::none && !is_variable) {
    // lstrip_blocks: nothing but blanks between the start of the line and the tag
    const size_t newline = text.rfind('\n');
    const size_t line_start = newline == std::string_view::npos ? 0 : newline + 1;
    if ((line_start > 0 || line_starting_) && is_blank(text.substr(line_start))) {
      kept = text.substr(0, line_start);
    }
  }
  if (!kept.empty()) add(TokenType::data, kept);
  advance(text.size());
}

/// Text up to the next tag, and the tag.
Result<void> Lexer::root() {
  size_t tag = position_;
  for (;; ++tag) {
    tag = source_.find('{', tag);
    if (tag == std::string_view::npos || tag + 1 == source_.size()) {
      add(TokenType::data, rest());
      advance(rest().size());
      return {};
    }
    if (std::string_view("%{#").find(source_[tag + 1]) != std::string_view::npos) break;
  }
  const std::string_view text = rest().substr(0, tag - position_);
  const char kind = source_[tag + 1];
  add_text(text, sign_at(tag + 2), kind == '{');
  if (kind == '%') {
    TETRAD_ASSIGN(const bool was_raw, raw());
    if (was_raw) return {};
  }
  advance(2);
  if (kind == '#') return comment();
  tokens_.push_back(
      {kind == '%' ? TokenType::block_begin : TokenType::variable_begin, line_, "", {}});
  skip_sign();
  return code(kind == '%' ? TokenType::block_end : TokenType::variable_end);
}

Result<void> Lexer::comment() {
  const int start = line_;
  skip_sign();
  const size_t end = source_.find("#}", position_);
  if (end == std::string_view::npos) return syntax_error(start, "the comment is never closed");
  const char before = end > position_ ? source_[end - 1] : ' ';
  advance(end - (before == '-' || before == '+' ? 1 : 0) - position_);
  close_tag("#}");
  return {};
}

/// Passes the end of a tag if it is here: "-%}" takes the white space behind it, "%}" one newline.
bool Lexer::close_tag(std::string_view end) {
  const bool is_variable = end == "}}";
  const size_t start = position_;
  if (at("-") && rest().substr(1).starts_with(end)) {
    advance(1 + end.size());
    skip_space();
  } else if (at("+") && !is_variable && rest().substr(1).starts_with(end)) {
    advance(1 + end.size());
  } else if (at(end)) {
    advance(end.size());
    if (!is_variable && at("\n")) advance(1);
  } else {
    return false;
  }
  line_starting_ = position_ > start && source_[position_ - 1] == '\n';
  return true;
}

/// {% raw %} … {% endraw %}: all text. Returns false if the tag here is another one.
Result<bool> Lexer::raw() {
  const size_t saved_position = position_;
  const int saved_line = line_;
  const auto is_tag = [&](std::string_view name) {
    advance(2);
    skip_sign();
    skip_space();
    if (!at(name)) return false;
    advance(name.size());
    skip_space();
    return at("%}") || at("-%}") || (name == "endraw" && at("+%}"));
  };
  if (!is_tag("raw")) {
    position_ = saved_position;
    line_ = saved_line;
    return false;
  }
  const bool trims = at("-");
  advance(trims ? 3 : 2);
  if (trims) skip_space();
  line_starting_ = source_[position_ - 1] == '\n';

  const size_t text_start = position_;
  const int text_line = line_;
  for (size_t tag = source_.find("{%", position_);; tag = source_.find("{%", tag + 1)) {
    if (tag == std::string_view::npos) {
      return syntax_error(saved_line, "the raw block is never closed by endraw");
    }
    advance(tag - position_);
    const int tag_line = line_;
    if (!is_tag("endraw")) {
      position_ = tag;
      line_ = tag_line;
      continue;
    }
    const size_t end = position_;
    const int end_line = line_;
    position_ = text_start;
    line_ = text_line;
    add_text(source_.substr(text_start, tag - text_start), sign_at(tag + 2), false);
    position_ = end;
    line_ = end_line;
    close_tag("%}");
    return true;
  }
}

/// The inside of a {% %} or {{ }} tag, and its end.
Result<void> Lexer::code(TokenType end_type) {
  const std::string_view end = end_type == TokenType::block_end ? "%}" : "}}";
  const int start = line_;
  while (position_ < source_.size()) {
    const int line = line_;
    // Inside of brackets "}}" closes a dictionary, not the tag.
    if (open_brackets_.empty() && close_tag(end)) {
      tokens_.push_back({end_type, line, "", {}});
      return {};
    }
    TETRAD_TRY(token());
  }
  return syntax_error(start, "the tag is never closed by {}", end);
}

Result<void> Lexer::token() {
  size_t after = position_;
  if (is_space(decode_code_point(source_, after))) {
    skip_space();
    return {};
  }
  TETRAD_ASSIGN(const bool was_number, number_token());
  if (was_number || name_token()) return {};
  if (at("'") || at("\"")) return string_token();
  return operator_token();
}

bool Lexer::float_token() {
  if (position_ > 0 && source_[position_ - 1] == '.') return false;
  const std::string_view text = rest();
  const auto decimal_end = [&](size_t from) {
    const bool is_digit = from < text.size() && is_ascii_digit(text[from]);
    return is_digit ? digits_end(text, from + 1, "0123456789") : from;
  };
  const size_t whole = decimal_end(0);
  size_t end = whole;
  if (end < text.size() && text[end] == '.') {
    const size_t fraction = decimal_end(end + 1);
    if (fraction > end + 1) end = fraction;
  }
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
    const size_t sign = end + 1 < text.size() && (text[end + 1] == '+' || text[end + 1] == '-');
    const size_t exponent = decimal_end(end + 1 + sign);
    if (exponent > end + 1 + sign) end = exponent;
  }
  if (end == whole) return false;
  const auto value = parse_float(text.substr(0, end));
  if (!value) return false;
  tokens_.push_back({TokenType::floating, line_, "", Value::floating(*value)});
  advance(end);
  return true;
}

Result<bool> Lexer::number_token() {
  const std::string_view text = rest();
  if (!is_ascii_digit(text[0])) return false;
  if (float_token()) return true;
  const char prefix = text.size() > 1 && text[0] == '0' ? static_cast<char>(text[1] | 0x20) : ' ';
  const std::string_view digits = prefix == 'x'   ? "0123456789abcdefABCDEF"
                                  : prefix == 'o' ? "01234567"
                                  : prefix == 'b' ? "01"
                                                  : "";
  size_t end = digits.empty() ? 0 : digits_end(text, 2, digits);
  // "0" alone, then: no digits after a prefix, and no leading zeros in decimal numbers.
  if (end <= 2) end = digits_end(text, 1, text[0] == '0' ? "0" : "0123456789");
  const auto value = parse_int(text.substr(0, end), 0);
  if (!value) return syntax_error(line_, "the integer has more than 127 bits");
  tokens_.push_back({TokenType::integer, line_, "", Value::integer(*value)});
  advance(end);
  return true;
}

bool Lexer::name_token() {
  size_t end = position_;
  if (!starts_name(decode_code_point(source_, end))) return false;
  while (end < source_.size()) {
    size_t after = end;
    const char32_t c = decode_code_point(source_, after);
    if (!starts_name(c) && !is_alnum(c)) break;
    end = after;
  }
  add(TokenType::name, source_.substr(position_, end - position_));
  advance(end - position_);
  return true;
}

Result<void> Lexer::string_token() {
  const char quote = source_[position_];
  size_t end = position_ + 1;
  while (end < source_.size() && source_[end] != quote)
    end += source_[end] == '\\' ? 2 : 1;
  if (end >= source_.size()) return syntax_error(line_, "the string is never closed");
  TETRAD_ASSIGN(const std::string text,
                unescape_string(source_.substr(position_ + 1, end - position_ - 1), line_));
  add(TokenType::string, text);
  advance(end + 1 - position_);
  return {};
}

Result<void> Lexer::operator_token() {
  const auto* const found = std::find_if(kOperators.begin(), kOperators.end(),
                                         [&](std::string_view symbol) { return at(symbol); });
  if (found == kOperators.end()) {
    size_t after = position_;
    decode_code_point(source_, after);
    return syntax_error(line_, "unexpected character '{}'",
                        source_.substr(position_, after - position_));
  }
  const char symbol = (*found)[0];
  if (symbol == '(' || symbol == '[' || symbol == '{') {
    open_brackets_.push_back(symbol == '(' ? ')' : symbol == '[' ? ']' : '}');
  } else if (symbol == ')' || symbol == ']' || symbol == '}') {
    if (open_brackets_.empty() || open_brackets_.back() != symbol) {
      return syntax_error(line_, "unexpected '{}'", symbol);
    }
    open_brackets_.pop_back();
  }
  add(TokenType::op, *found);
  advance(found->size());
  return {};
}

}  // namespace

std::string describe(const Token& token) {
  switch (token.type) {
    case TokenType::data:
      return "text";
    case TokenType::block_begin:
      return "'{%'";
    case TokenType::block_end:
      return "'%}'";
    case TokenType::variable_begin:
      return "'{{'";
    case TokenType::variable_end:
      return "'}}'";
    case TokenType::name:
      return "'" + token.text + "'";
    case TokenType::string:
      return "a string";
    case TokenType::integer:
    case TokenType::floating:
      return "a number";
    case TokenType::op:
      return "'" + token.text + "'";
    case TokenType::end:
      return "the end of the template";
  }
  return "an unknown token";
}

Result<std::vector<Token>> tokenize(std::string_view source) {
  if (const auto invalid = find_invalid_utf8(source)) {
    return fail(ErrorCode::corrupt_data, "chat template: not valid UTF-8 at byte {}", *invalid);
  }
  const std::string normalised = normalised_newlines(source);
  return Lexer(normalised).run();
}

}  // namespace tetrad::jinja
