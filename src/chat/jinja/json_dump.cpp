#include "chat/jinja/json_dump.h"

#include <fmt/format.h>

#include <cmath>

#include "chat/jinja/number_text.h"
#include "chat/jinja/sorting.h"
#include "chat/jinja/unicode.h"

namespace tetrad::jinja {
namespace {

void append_escape(std::string& out, uint32_t code) {
  out += fmt::format("\\u{:04x}", code);
}

void append_escaped(std::string& out, char32_t c, bool ensure_ascii) {
  switch (c) {
    case U'"':
      out += "\\\"";
      return;
    case U'\\':
      out += "\\\\";
      return;
    case U'\n':
      out += "\\n";
      return;
    case U'\r':
      out += "\\r";
      return;
    case U'\t':
      out += "\\t";
      return;
    case U'\f':
      out += "\\f";
      return;
    case U'\b':
      out += "\\b";
      return;
    default:
      break;
  }
  const auto code = static_cast<uint32_t>(c);
  if (code >= 0x20 && (code < 0x7F || !ensure_ascii)) {
    append_code_point(out, c);
  } else if (code < 0x10000) {
    append_escape(out, code);
  } else {
    append_escape(out, 0xD800 + ((code - 0x10000) >> 10));
    append_escape(out, 0xDC00 + ((code - 0x10000) & 0x3FF));
  }
}

std::string number_text(const Value& number) {
  if (number.is_integral()) return int_text(number.as_integer());
  const double value = number.as_floating();
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return float_text(value);
}

class JsonWriter {
 public:
  JsonWriter(const JsonDumpOptions& options, Budget& budget)
      : options_(&options), budget_(&budget) {}

  Result<void> write(const Value& value) {
    TETRAD_TRY(budget_->spend());
    switch (value.kind()) {
      case Kind::none:
        return append("null");
      case Kind::boolean:
        return append(value.as_boolean() ? "true" : "false");
      case Kind::integer:
      case Kind::floating:
        return append(number_text(value));
      case Kind::string:
        return write_string(value.bytes());
      case Kind::list:
      case Kind::tuple:
        return write_array(value.items());
      case Kind::dict:
        return write_object(value.as_dict());
      default:
        return fail(ErrorCode::invalid_argument, "Object of type {} is not JSON serializable",
                    value.type_name());
    }
  }

  std::string take() { return std::move(text_); }

 private:
  Result<void> append(std::string_view text) {
    TETRAD_TRY(budget_->spend_append(text_.size(), text.size()));
    text_ += text;
    return {};
  }

  Result<void> write_string(std::string_view text) {
    TETRAD_TRY(budget_->spend_bytes(text.size()));
    std::string escaped = "\"";
    for (size_t position = 0; position < text.size();) {
      append_escaped(escaped, decode_code_point(text, position), options_->ensure_ascii);
    }
    escaped += '"';
    return append(escaped);
  }

  /// Between the parts of an array or object: separator (not before the first) and line break.
  Result<void> begin_item(bool is_first) {
    if (!is_first) TETRAD_TRY(append(options_->item_separator));
    return break_line();
  }

  Result<void> break_line() {
    if (!options_->indent) return {};
    TETRAD_TRY(append("\n"));
    for (int i = 0; i < level_; ++i)
      TETRAD_TRY(append(*options_->indent));
    return {};
  }

  Result<void> write_array(const std::vector<Value>& items) {
    if (items.empty()) return append("[]");
    TETRAD_TRY(append("["));
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      TETRAD_TRY(begin_item(i == 0));
      TETRAD_TRY(write(items[i]));
    }
    --level_;
    TETRAD_TRY(break_line());
    return append("]");
  }

  Result<void> write_object(const Dict& dict) {
    if (dict.size() == 0) return append("{}");
    TETRAD_TRY(append("{"));
    ++level_;
    std::vector<Value> keys;
    for (const Dict::Entry& entry : dict.entries())
      keys.push_back(entry.key);
    if (options_->sort_keys) TETRAD_TRY(sort_values(keys, *budget_));
    for (size_t i = 0; i < keys.size(); ++i) {
      TETRAD_TRY(begin_item(i == 0));
      TETRAD_TRY(write_key(keys[i]));
      TETRAD_TRY(append(options_->key_separator));
      TETRAD_ASSIGN(const Value* value, dict.find(keys[i], *budget_));
      TETRAD_TRY(write(*value));
    }
    --level_;
    TETRAD_TRY(break_line());
    return append("}");
  }

  Result<void> write_key(const Value& key) {
    switch (key.kind()) {
      case Kind::string:
        return write_string(key.bytes());
      case Kind::none:
        return append("\"null\"");
      case Kind::boolean:
        return append(key.as_boolean() ? "\"true\"" : "\"false\"");
      case Kind::integer:
      case Kind::floating:
        return append("\"" + number_text(key) + "\"");
      default:
        return fail(ErrorCode::invalid_argument,
                    "keys must be str, int, float, bool or None, not {}", key.type_name());
    }
  }

  const JsonDumpOptions* options_;
  Budget* budget_;
  std::string text_;
  int level_ = 0;
};

}  // namespace

Result<std::string> dump_json(const Value& value, const JsonDumpOptions& options, Budget& budget) {
  JsonWriter writer(options, budget);
  TETRAD_TRY(writer.write(value));
  return writer.take();
}

}  // namespace tetrad::jinja
