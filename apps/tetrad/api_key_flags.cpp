#include "api_key_flags.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "base/log.h"
#include "base/mapped_file.h"
#include "base/trimmed.h"

namespace tetrad {
namespace {

constexpr std::string_view kKeyFlag = "--api-key";
constexpr std::string_view kFileFlag = "--api-key-file";
constexpr size_t kMaxKeyFileBytes = 1 << 20;

/// What of a key cannot be, "" if it is fine.
std::string_view what_is_wrong(std::string_view key) {
  if (key.empty()) return "must not be empty";
  const bool fits = std::ranges::all_of(
      key, [](char c) { return static_cast<unsigned char>(c) > ' ' && c != 0x7F; });
  return fits ? "" : "must not have blanks or control characters in it";
}

void add_key(std::vector<std::string>& keys, std::string_view key) {
  if (std::ranges::find(keys, key) == keys.end()) keys.emplace_back(key);
}

void warn_if_others_may_read(const std::string& path) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0 || (status.st_mode & (S_IRGRP | S_IROTH)) == 0) return;
  log::warn("{} {}: other users of this machine can read the keys; chmod 600 keeps them out",
            kFileFlag, path);
}

Result<void> read_key_file(const std::string& path, std::vector<std::string>& keys) {
  auto text = read_text_file(path, kMaxKeyFileBytes);
  if (!text) {
    Error error = std::move(text.error()).in(kFileFlag);
    error.param = kFileFlag;
    return tl::unexpected<Error>(std::move(error));
  }
  warn_if_others_may_read(path);
  bool found = false;
  int64_t number = 0;
  std::string_view rest = *text;
  while (!rest.empty()) {
    ++number;
    const size_t end = rest.find('\n');
    const std::string_view line = trimmed(rest.substr(0, end), " \t\r");
    rest = end == std::string_view::npos ? "" : rest.substr(end + 1);
    if (line.empty() || line.front() == '#') continue;
    if (const std::string_view problem = what_is_wrong(line); !problem.empty()) {
      return fail_param(kFileFlag, "{}: the key in line {} of {} {}", kFileFlag, number, path,
                        problem);
    }
    add_key(keys, line);
    found = true;
  }
  if (!found) return fail_param(kFileFlag, "{}: {} has no key in it", kFileFlag, path);
  return {};
}

}  // namespace

Result<std::vector<std::string>> collect_api_keys(const std::vector<std::string>& given,
                                                  const std::vector<std::string>& files) {
  std::vector<std::string> keys;
  for (const std::string& key : given) {
    if (const std::string_view problem = what_is_wrong(key); !problem.empty()) {
      return fail_param(kKeyFlag, "{} {}", kKeyFlag, problem);
    }
    add_key(keys, key);
  }
  for (const std::string& path : files)
    TETRAD_TRY(read_key_file(path, keys));
  for (const char* name : {"TETRAD_API_KEY", "VLLM_API_KEY"}) {
    const char* key = std::getenv(name);
    if (key == nullptr || *key == '\0') continue;
    if (const std::string_view problem = what_is_wrong(key); !problem.empty()) {
      return fail_param(name, "{} in the environment {}", name, problem);
    }
    add_key(keys, key);
  }
  return keys;
}

}  // namespace tetrad
