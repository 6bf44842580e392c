#include "api/api_keys.h"

#include <algorithm>
#include <cctype>

namespace tetrad::api {
namespace {

bool equal_in_constant_time(std::string_view key, std::string_view given) {
  if (key.empty()) return false;
  unsigned difference = key.size() == given.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i) {
    difference |=
        static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(key[i % key.size()]);
  }
  return difference == 0;
}

/// The token of "Bearer <token>", "" for anything else.
std::string_view bearer_token(std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer ";
  const auto same_letter = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == b;
  };
  if (authorization.size() < kScheme.size() ||
      !std::equal(kScheme.begin(), kScheme.end(), authorization.begin(),
                  [&](char lower, char given) { return same_letter(given, lower); })) {
    return "";
  }
  authorization.remove_prefix(kScheme.size());
  const size_t begin = authorization.find_first_not_of(' ');
  return begin == std::string_view::npos ? "" : authorization.substr(begin);
}

}  // namespace

std::optional<size_t> ApiKeys::find(const RequestHead& head) const {
  const std::optional<size_t> bearer = find_key(bearer_token(head.authorization));
  const std::optional<size_t> header = find_key(head.api_key);
  return bearer ? bearer : header;
}

std::optional<size_t> ApiKeys::find_key(std::string_view given) const {
  std::optional<size_t> found;
  for (size_t i = 0; i < keys_.size(); ++i) {
    if (equal_in_constant_time(keys_[i], given)) found = i;
  }
  return found;
}

}  // namespace tetrad::api
