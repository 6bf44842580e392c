// Renders template cases for differential.py: one JSON object a line in,
// {"template", "context"}, and one out, {"rendered"} or {"error"}.

#include <cstdio>
#include <iostream>
#include <string>

#include "base/json.h"
#include "chat/template.h"

namespace {

using tetrad::json::object;

tetrad::Result<std::string> render(const object& test_case) {
  TETRAD_ASSIGN(const auto chat_template,
                tetrad::ChatTemplate::compile(test_case.at("template").as_string()));
  return chat_template.render(test_case.at("context").as_object());
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    const auto test_case = tetrad::parse_json(line);
    if (!test_case || !test_case->is_object()) {
      std::fputs("a line is no JSON object\n", stderr);
      return 1;
    }
    const auto rendered = render(test_case->get_object());
    const object answer =
        rendered ? object{{"rendered", *rendered}} : object{{"error", rendered.error().message}};
    std::puts(tetrad::to_json_text(answer).c_str());
  }
  return 0;
}
