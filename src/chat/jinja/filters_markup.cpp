#include <array>

#include "chat/jinja/arguments.h"
#include "chat/jinja/filters.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/iteration.h"
#include "chat/jinja/json_dump.h"
#include "chat/jinja/markup.h"
#include "chat/jinja/python_text.h"

namespace tetrad::jinja {
namespace {

Result<Value> escape(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_TRY(bind("escape", arguments, {}));
  return escape_html(subject, interpreter.budget());
}

Result<Value> force_escape(Interpreter& interpreter, const Value& subject,
                           const Arguments& arguments) {
  TETRAD_TRY(bind("forceescape", arguments, {}));
  return force_escape_html(subject, interpreter.budget());
}

Result<Value> safe(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_TRY(bind("safe", arguments, {}));
  TETRAD_ASSIGN(std::string text, to_text(subject, interpreter.budget()));
  return Value::string(std::move(text), true);
}

/// Percent-encoding of the UTF-8 bytes.
std::string percent_encoded(std::string_view text, bool in_query) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
        std::string_view("_.-~").find(c) != std::string_view::npos || (c == '/' && !in_query);
    if (is_plain) {
      out += c;
    } else if (c == ' ' && in_query) {
      out += '+';
    } else {
      out += '%';
      out += kDigits[byte >> 4U];
      out += kDigits[byte & 15U];
    }
  }
  return out;
}

Result<std::string> query_part(const Value& value, Budget& budget) {
  TETRAD_ASSIGN(const std::string text, to_text(value, budget));
  return percent_encoded(text, true);
}

Result<Value> url_encode(Interpreter& interpreter, const Value& subject,
                         const Arguments& arguments) {
  TETRAD_TRY(bind("urlencode", arguments, {}));
  Budget& budget = interpreter.budget();
  if (subject.is_string() || !iterate(subject)) {
    TETRAD_ASSIGN(const std::string text, to_text(subject, budget));
    return Value::string(percent_encoded(text, false), budget);
  }
  std::vector<std::pair<Value, Value>> pairs;
  if (subject.is_dict()) {
    for (const auto& [key, value] : subject.as_dict().entries())
      pairs.emplace_back(key, value);
  } else {
    TETRAD_ASSIGN(const std::vector<Value> items, collect(subject, budget));
    for (const Value& item : items) {
      TETRAD_ASSIGN(const std::vector<Value> parts, collect(item, budget));
      if (parts.size() != 2) {
        return fail(ErrorCode::invalid_argument, "urlencode takes pairs, not {} values",
                    parts.size());
      }
      pairs.emplace_back(parts[0], parts[1]);
    }
  }
  std::string out;
  for (const auto& [key, value] : pairs) {
    TETRAD_ASSIGN(const std::string name, query_part(key, budget));
    TETRAD_ASSIGN(const std::string text, query_part(value, budget));
    TETRAD_TRY(budget.spend_append(out.size(), name.size() + text.size() + 2));
    if (!out.empty()) out += '&';
    out.append(name).append("=").append(text);
  }
  return Value::string(std::move(out));
}

/// The separators of json.dumps: a pair of strings.
Result<void> read_separators(const Value& pair, JsonDumpOptions& options) {
  const bool is_pair = pair.is_sequence() && pair.items().size() == 2 &&
                       pair.items()[0].is_string() && pair.items()[1].is_string();
  if (!is_pair) {
    return fail(ErrorCode::invalid_argument, "tojson: separators must be a pair of strings");
  }
  options.item_separator = pair.items()[0].bytes();
  options.key_separator = pair.items()[1].bytes();
  return {};
}

Result<Value> to_json(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("tojson", arguments,
                                      {{"ensure_ascii", Value::boolean(false)},
                                       {"indent", Value::none()},
                                       {"separators", Value::none()},
                                       {"sort_keys", Value::boolean(false)}}));
  JsonDumpOptions options;
  options.ensure_ascii = args[0].truthy();
  options.sort_keys = args[3].truthy();
  if (args[1].is_string()) {
    options.indent = args[1].bytes();
  } else if (!args[1].is_none()) {
    TETRAD_ASSIGN(const int64_t width, integer_argument("tojson: indent", args[1]));
    constexpr int64_t kMaxIndent = 1000;
    if (width > kMaxIndent) {
      return fail(ErrorCode::resource_exhausted, "tojson: an indent of over {}", kMaxIndent);
    }
    options.indent = std::string(static_cast<size_t>(std::max<int64_t>(0, width)), ' ');
  }
  if (options.indent) options.item_separator = ",";
  if (!args[2].is_none()) TETRAD_TRY(read_separators(args[2], options));
  TETRAD_ASSIGN(std::string text, dump_json(subject, options, interpreter.budget()));
  return Value::string(std::move(text));
}

constexpr std::array<NamedFunction, 6> kMarkupFilters = {{
    {"escape", escape},
    {"e", escape},
    {"forceescape", force_escape},
    {"safe", safe},
    {"urlencode", url_encode},
    {"tojson", to_json},
}};

}  // namespace

std::span<const NamedFunction> markup_filters() {
  return kMarkupFilters;
}

}  // namespace tetrad::jinja
