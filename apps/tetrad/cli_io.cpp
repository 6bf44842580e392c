#include "cli_io.h"

#include <cstdio>
#include <fstream>
#include <iostream>

namespace tetrad {
namespace {

Result<json::object> handle_line(
    const std::string& line,
    const std::function<Result<json::object>(const json::object&)>& handle) {
  TETRAD_ASSIGN(const json::value value, parse_json(line));
  if (!value.is_object()) {
    return fail(ErrorCode::invalid_argument, "each line must be a JSON object, this one is {}",
                json_kind_name(value));
  }
  return handle(value.get_object());
}

}  // namespace

int report(const Error& error) {
  fmt::print(stderr, "tetrad: {}\n", error.message);
  return kExitFailed;
}

int for_each_json_line(const std::string& path,
                       const std::function<Result<json::object>(const json::object&)>& handle) {
  std::ifstream file;
  if (path != "-") {
    file.open(path);
    if (!file) return report(Error{ErrorCode::io, "cannot open " + path, ""});
  }
  std::istream& input = path == "-" ? std::cin : file;
  int status = kExitOk;
  int64_t number = 0;
  for (std::string line; std::getline(input, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    Result<json::object> answer = handle_line(line, handle);
    if (!answer) {
      status = report(std::move(answer.error()).in(fmt::format("line {}", number)));
      answer = json::object{{"error", answer.error().message}};
    }
    fmt::print("{}\n", to_json_text(*answer));
    std::fflush(stdout);
  }
  return status;
}

Result<std::string> string_field(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return fail_param(key, "the field \"{}\" is missing", key);
  if (!value->is_string()) {
    return fail_param(key, "\"{}\" must be a string, not {}", key, json_kind_name(*value));
  }
  return std::string(value->get_string());
}

Result<std::vector<int32_t>> ids_field(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return fail_param(key, "the field \"{}\" is missing", key);
  if (!value->is_array()) {
    return fail_param(key, "\"{}\" must be an array of token ids, not {}", key,
                      json_kind_name(*value));
  }
  std::vector<int32_t> ids;
  for (const json::value& item : value->get_array()) {
    json::error_code ec;
    const auto id = item.to_number<int32_t>(ec);
    if (ec || item.is_double()) {
      return fail_param(key, "\"{}\"[{}] is not a token id", key, ids.size());
    }
    ids.push_back(id);
  }
  return ids;
}

}  // namespace tetrad
