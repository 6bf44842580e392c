#include "quant/pretty_json.h"

#include <algorithm>

namespace tetrad {
namespace {

void append(const json::value& value, size_t depth, std::string& text);

void append_line_break(size_t depth, std::string& text) {
  text += '\n';
  text.append(2 * depth, ' ');
}

void append_object(const json::object& object, size_t depth, std::string& text) {
  text += '{';
  const char* separator = "";
  for (const auto& [key, value] : object) {
    text += separator;
    append_line_break(depth + 1, text);
    text += to_json_text(json::string(key)) + ": ";
    append(value, depth + 1, text);
    separator = ",";
  }
  if (!object.empty()) append_line_break(depth, text);
  text += '}';
}

void append_array(const json::array& array, size_t depth, std::string& text) {
  const bool flat = std::none_of(array.begin(), array.end(),
                                 [](const json::value& item) { return item.is_structured(); });
  text += '[';
  const char* separator = "";
  for (const json::value& item : array) {
    text += separator;
    if (!flat) append_line_break(depth + 1, text);
    append(item, depth + 1, text);
    separator = flat ? ", " : ",";
  }
  if (!flat) append_line_break(depth, text);
  text += ']';
}

void append(const json::value& value, size_t depth, std::string& text) {
  if (const json::object* object = value.if_object()) {
    append_object(*object, depth, text);
  } else if (const json::array* array = value.if_array()) {
    append_array(*array, depth, text);
  } else {
    text += to_json_text(value);
  }
}

}  // namespace

std::string to_pretty_json(const json::value& value) {
  std::string text;
  append(value, 0, text);
  return text + "\n";
}

}  // namespace tetrad
