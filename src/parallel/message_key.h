#pragma once

// What rank 0 tells the others is authenticated: a rank computes nothing for anybody who does not
// know the group's secret.

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "parallel/communicator.h"

namespace tetrad::parallel {

inline constexpr size_t kMacBytes = 32;

/// The key of one group of ranks, from its start to its end.
class MessageKey {
 public:
  /// The same on every rank, new each time: made of what rank 0 draws at random and of the secret
  /// that all of them know. Of a group without a secret what rank 0 hands over is all there is.
  /// Errors name the rank that has no secret or another one; what the communicator says.
  static Result<MessageKey> exchange(Communicator& ranks, const std::optional<std::string>& secret);

  /// HMAC-SHA-512-256 of `bytes`.
  std::array<std::byte, kMacBytes> mac_of(std::span<const std::byte> bytes) const;
  /// In a time that does not depend on where the first difference is.
  bool verify(std::span<const std::byte> bytes, std::span<const std::byte, kMacBytes> mac) const;

 private:
  std::array<unsigned char, 32> key_{};
};

/// What a group's secret may come in.
inline constexpr const char* kSecretVariable = "TETRAD_RANK_SECRET";

/// The secret of this process's environment, if there is one. Errors: it is too short to keep
/// anybody out.
Result<std::optional<std::string>> secret_of_environment();

}  // namespace tetrad::parallel
