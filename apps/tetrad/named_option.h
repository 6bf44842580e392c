#pragma once

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace tetrad {

/// An option whose values have names, the first the default: "'int4' is not one of mxfp4_16, bf16".
template <class Value>
CLI::Option* add_named_option(CLI::App& verb, const std::string& flag, Value& target,
                              const std::string& description, const std::vector<Value>& values,
                              std::string_view (*name_of)(Value)) {
  std::vector<std::string> names;
  names.reserve(values.size());
  for (const Value value : values)
    names.emplace_back(name_of(value));
  const std::string all = fmt::format("{}", fmt::join(names, ", "));
  const auto check = [names, all](const std::string& word) -> std::string {
    for (const std::string& name : names) {
      if (name == word) return {};
    }
    return fmt::format("'{}' is not one of {}", word, all);
  };
  const auto set = [&target, values, names](const std::string& word) {
    for (size_t i = 0; i < names.size(); ++i) {
      if (names[i] == word) target = values[i];
    }
  };
  return verb.add_option_function<std::string>(flag, set, description)
      ->check(CLI::Validator(check, "", "name"))
      ->option_text(fmt::format("NAME [{}]", names.front()));
}

}  // namespace tetrad
