#include "chat/jinja/python_text.h"

#include <fmt/format.h>

#include "chat/jinja/number_text.h"
#include "chat/jinja/object.h"
#include "chat/jinja/unicode.h"

namespace tetrad::jinja {
namespace {

/// Namespaces inside namespaces; values themselves are bounded by kMaxValueDepth.
constexpr int kMaxReprDepth = 2 * kMaxValueDepth;

std::string range_text(const Range& range) {
  std::string text = "range(" + int_text(range.start) + ", " + int_text(range.stop);
  if (range.step != 1) text += ", " + int_text(range.step);
  return text + ")";
}

std::string escape_unprintable(char32_t c) {
  const auto code = static_cast<uint32_t>(c);
  if (code < 0x100) return fmt::format("\\x{:02x}", code);
  if (code < 0x10000) return fmt::format("\\u{:04x}", code);
  return fmt::format("\\U{:08x}", code);
}

void append_character_repr(std::string& out, char32_t c, char quote) {
  switch (c) {
    case U'\n':
      out += "\\n";
      return;
    case U'\r':
      out += "\\r";
      return;
    case U'\t':
      out += "\\t";
      return;
    case U'\\':
      out += "\\\\";
      return;
    default:
      if (c == static_cast<unsigned char>(quote)) out += '\\';
      if (is_printable(c)) {
        append_code_point(out, c);
      } else {
        out += escape_unprintable(c);
      }
  }
}

std::string quoted(std::string_view text) {
  const bool has_single = text.find('\'') != text.npos;
  const char quote = has_single && text.find('"') == text.npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t position = 0; position < text.size();) {
    append_character_repr(out, decode_code_point(text, position), quote);
  }
  out += quote;
  return out;
}

}  // namespace

Result<void> ReprWriter::append(std::string_view text) {
  TETRAD_TRY(budget_->spend_append(text_.size(), text.size()));
  text_ += text;
  return {};
}

Result<void> ReprWriter::append_items(const std::vector<Value>& items) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) TETRAD_TRY(append(", "));
    TETRAD_TRY(append(items[i]));
  }
  return {};
}

Result<void> ReprWriter::append_list(const std::vector<Value>& items) {
  TETRAD_TRY(append("["));
  TETRAD_TRY(append_items(items));
  return append("]");
}

Result<void> ReprWriter::append_tuple(const std::vector<Value>& items) {
  TETRAD_TRY(append("("));
  TETRAD_TRY(append_items(items));
  return append(items.size() == 1 ? ",)" : ")");
}

Result<void> ReprWriter::append_dict(const Dict& dict) {
  TETRAD_TRY(append("{"));
  bool is_first = true;
  for (const auto& [key, value] : dict.entries()) {
    if (!is_first) TETRAD_TRY(append(", "));
    is_first = false;
    TETRAD_TRY(append(key));
    TETRAD_TRY(append(": "));
    TETRAD_TRY(append(value));
  }
  return append("}");
}

Result<void> ReprWriter::append_quoted(std::string_view text) {
  TETRAD_TRY(budget_->spend_bytes(text.size()));
  return append(quoted(text));
}

Result<void> ReprWriter::append(const Value& value) {
  TETRAD_TRY(budget_->spend());
  if (depth_ >= kMaxReprDepth) {
    return fail(ErrorCode::resource_exhausted, "the value to print is nested too deeply");
  }
  ++depth_;
  Result<void> result;
  switch (value.kind()) {
    case Kind::undefined:
      result = append("Undefined");
      break;
    case Kind::none:
      result = append("None");
      break;
    case Kind::boolean:
      result = append(value.as_boolean() ? "True" : "False");
      break;
    case Kind::integer:
      result = append(int_text(value.as_integer()));
      break;
    case Kind::floating:
      result = append(float_text(value.as_floating()));
      break;
    case Kind::string:
      result = value.as_string().is_markup ? append("Markup(") : result;
      if (result) result = append_quoted(value.bytes());
      if (result && value.as_string().is_markup) result = append(")");
      break;
    case Kind::list:
      result = append_list(value.items());
      break;
    case Kind::tuple:
      result = append_tuple(value.items());
      break;
    case Kind::dict:
      result = append_dict(value.as_dict());
      break;
    case Kind::range:
      result = append(range_text(value.as_range()));
      break;
    case Kind::object:
      result = value.as_object().append_repr(*this);
      break;
  }
  --depth_;
  return result;
}

Result<std::string> repr(const Value& value, Budget& budget) {
  ReprWriter writer(budget);
  TETRAD_TRY(writer.append(value));
  return writer.take();
}

Result<std::string> to_text(const Value& value, Budget& budget) {
  if (value.is_undefined()) return std::string();
  if (!value.is_string()) return repr(value, budget);
  TETRAD_TRY(budget.spend_bytes(value.bytes().size()));
  return value.bytes();
}

Result<Value> to_string_value(const Value& value, Budget& budget) {
  if (value.is_string()) return value;
  TETRAD_ASSIGN(std::string text, to_text(value, budget));
  return Value::string(std::move(text));
}

Result<void> append_text(std::string& out, const Value& value, Budget& budget) {
  TETRAD_ASSIGN(const Value text, to_string_value(value, budget));
  const std::string& bytes = text.bytes();
  TETRAD_TRY(budget.spend_append(out.size(), bytes.size()));
  out += bytes;
  return {};
}

}  // namespace tetrad::jinja
