#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/transport.h"

namespace tetrad::api {

/// The keys clients may come with. Without any, everybody is let in.
class ApiKeys {
 public:
  explicit ApiKeys(std::vector<std::string> keys) : keys_(std::move(keys)) {}

  /// A key comes as OpenAI's clients send it, "Authorization: Bearer <key>", or as Anthropic's do,
  /// "x-api-key: <key>"; one good one is enough. The time taken does not depend on how much of a
  /// wrong key is right.
  bool admit(const RequestHead& head) const { return keys_.empty() || find(head).has_value(); }
  /// The place of the client's key among the keys: tells clients apart without being secret.
  std::optional<size_t> find(const RequestHead& head) const;

 private:
  std::optional<size_t> find_key(std::string_view given) const;

  std::vector<std::string> keys_;
};

}  // namespace tetrad::api
