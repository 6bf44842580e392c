#include "chat/jinja/markup.h"

#include "chat/jinja/python_text.h"

namespace tetrad::jinja {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace

Result<Value> escape_html(const Value& value, Budget& budget) {
  if (value.is_string() && value.as_string().is_markup) return value;
  return force_escape_html(value, budget);
}

Result<Value> force_escape_html(const Value& value, Budget& budget) {
  TETRAD_ASSIGN(const std::string text, to_text(value, budget));
  std::string out = escaped(text);
  TETRAD_TRY(budget.spend_bytes(out.size()));
  return Value::string(std::move(out), true);
}

}  // namespace tetrad::jinja
