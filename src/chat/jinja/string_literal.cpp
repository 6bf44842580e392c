#include "chat/jinja/string_literal.h"

#include "chat/jinja/lexer.h"
#include "chat/jinja/unicode.h"

namespace tetrad::jinja {
namespace {

class Unescaper {
 public:
  Unescaper(std::string_view literal, int line) : literal_(literal), line_(line) {}

  Result<std::string> run() {
    while (position_ < literal_.size()) {
      const char c = literal_[position_++];
      if (c == '\\' && position_ < literal_.size()) {
        TETRAD_TRY(escape());
      } else {
        out_ += c;
      }
    }
    return std::move(out_);
  }

 private:
  Result<void> escape() {
    const char c = literal_[position_++];
    switch (c) {
      case '\n':
        return {};  // a line continued
      case '\\':
      case '\'':
      case '"':
        out_ += c;
        return {};
      case 'a':
        out_ += '\a';
        return {};
      case 'b':
        out_ += '\b';
        return {};
      case 'f':
        out_ += '\f';
        return {};
      case 'n':
        out_ += '\n';
        return {};
      case 'r':
        out_ += '\r';
        return {};
      case 't':
        out_ += '\t';
        return {};
      case 'v':
        out_ += '\v';
        return {};
      case 'x':
        return hexadecimal(2);
      case 'u':
        return hexadecimal(4);
      case 'U':
        return hexadecimal(8);
      case 'N':
        return syntax_error(line_, "\\N{{…}} in a string is not supported, use \\u");
      default:
        --position_;
        if (c >= '0' && c <= '7') return octal();
        out_ += '\\';
        return {};
    }
  }

  Result<void> hexadecimal(size_t digits) {
    uint32_t code = 0;
    for (size_t i = 0; i < digits; ++i, ++position_) {
      const char c = position_ < literal_.size() ? literal_[position_] : '\0';
      const size_t digit = std::string_view("0123456789abcdef").find(c >= 'A' ? c | 0x20 : c);
      if (digit == std::string_view::npos) {
        return syntax_error(line_, "a truncated \\x, \\u or \\U escape in a string");
      }
      code = code * 16 + static_cast<uint32_t>(digit);
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
      return syntax_error(line_, "U+{:04X} in a string is not a character", code);
    }
    append_code_point(out_, code);
    return {};
  }

  Result<void> octal() {
    uint32_t code = 0;
    for (int i = 0; i < 3 && position_ < literal_.size(); ++i, ++position_) {
      const char c = literal_[position_];
      if (c < '0' || c > '7') break;
      code = code * 8 + static_cast<uint32_t>(c - '0');
    }
    append_code_point(out_, code);
    return {};
  }

  std::string_view literal_;
  int line_;
  size_t position_ = 0;
  std::string out_;
};

}  // namespace

Result<std::string> unescape_string(std::string_view literal, int line) {
  return Unescaper(literal, line).run();
}

}  // namespace tetrad::jinja
