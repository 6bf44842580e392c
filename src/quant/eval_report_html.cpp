#include "quant/eval_report_html.h"

#include <fmt/format.h>

#include <cmath>

namespace tetrad {
namespace {

constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

/// What stands for one byte of a text; the byte itself where nothing has to.
std::string_view html_escape_of(const char& byte) {
  switch (byte) {
    case '&':
      return "&amp;";
    case '<':
      return "&lt;";
    case '>':
      return "&gt;";
    case '"':
      return "&quot;";
    case '\'':
      return "&#39;";
    default:
      break;
  }
  const auto code = static_cast<unsigned char>(byte);
  const bool is_control = (code < 0x20 && byte != '\t' && byte != '\n') || code == 0x7F;
  return is_control ? kReplacementCharacter : std::string_view(&byte, 1);
}

}  // namespace

std::string html_text(std::string_view text) {
  std::string html;
  html.reserve(text.size());
  for (const char& byte : text)
    html += html_escape_of(byte);
  return html;
}

std::string html_token(std::string_view text) {
  std::string html;
  for (const char& byte : text) {
    if (byte == '\n') {
      html += "↵";
    } else if (byte == '\t') {
      html += "⇥";
    } else {
      html += html_escape_of(byte);
    }
  }
  return html;
}

std::string short_number(double value) {
  return fmt::format("{:.4g}", value);
}

std::string percent_text(double share) {
  return std::isfinite(share) ? fmt::format("{:.2f} %", 100 * share) : "∞";
}

}  // namespace tetrad
