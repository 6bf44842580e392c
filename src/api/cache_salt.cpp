#include "api/cache_salt.h"

#include <fmt/core.h>

namespace tetrad::api {

std::string cache_salt(PrefixSharing sharing, const ApiKeys& keys, const RequestHead& head,
                       std::string_view requested) {
  std::optional<size_t> key;
  if (sharing == PrefixSharing::within_key) key = keys.find(head);
  // What stands before the first colon is ours, so that no salt can imitate another key's.
  return fmt::format("{}:{}", key ? std::to_string(*key) : "", requested);
}

}  // namespace tetrad::api
