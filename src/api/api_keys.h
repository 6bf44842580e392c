#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tetrad::api {

/// The keys clients may come with. Without any, everybody is let in.
class ApiKeys {
 public:
  explicit ApiKeys(std::vector<std::string> keys) : keys_(std::move(keys)) {}

  /// `authorization`: the header's value, "Bearer <key>". The time taken does not depend on how
  /// much of a wrong key is right.
  bool admit(std::string_view authorization) const {
    return keys_.empty() || find(authorization).has_value();
  }
  /// The place of the client's key among the keys: tells clients apart without being secret.
  std::optional<size_t> find(std::string_view authorization) const;

 private:
  std::vector<std::string> keys_;
};

}  // namespace tetrad::api
