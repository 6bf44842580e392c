#pragma once

#include <optional>
#include <string>

#include "chat/jinja/value.h"

namespace tetrad::jinja {

/// The keyword arguments of Python's json.dumps that templates use.
struct JsonDumpOptions {
  bool ensure_ascii = false;
  /// Text of one level of indentation; nothing: all on one line.
  std::optional<std::string> indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};

/// json.dumps: 1.0 stays "1.0", NaN is "NaN", and nothing is escaped for HTML. Values without a
/// JSON form are an error.
Result<std::string> dump_json(const Value& value, const JsonDumpOptions& options, Budget& budget);

}  // namespace tetrad::jinja
