#include "parallel/message_key.h"

#include <sodium.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace tetrad::parallel {
namespace {

static_assert(kMacBytes == crypto_auth_BYTES);

constexpr size_t kShortestSecret = 16;
/// Keeps these keys apart from whatever else a secret may be used for.
constexpr std::string_view kKeyPurpose = "tetrad messages between ranks 1";
constexpr std::string_view kProofPurpose = "tetrad proof of rank ";

const unsigned char* as_bytes_of_sodium(const void* bytes) {
  return static_cast<const unsigned char*>(bytes);
}

std::span<const std::byte> bytes_of_text(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string proof_text(int rank) {
  return fmt::format("{}{}", kProofPurpose, rank);
}

/// Whether all have a secret, or none has one.
Result<void> check_who_has_one(Communicator& ranks, bool has_secret) {
  const auto size = static_cast<size_t>(ranks.size());
  const std::byte mine{static_cast<unsigned char>(has_secret ? 1 : 0)};
  std::vector<std::byte> all(size);
  TETRAD_TRY(ranks.all_gather({&mine, 1}, all));
  for (size_t rank = 0; rank < size; ++rank) {
    if (all[rank] == all[0]) continue;
    const bool first_has = all[0] != std::byte{0};
    return fail(ErrorCode::invalid_argument,
                "rank {} has a {} and rank {} has none; give it to all of them (mpirun -x {})",
                first_has ? 0 : rank, kSecretVariable, first_has ? rank : 0, kSecretVariable);
  }
  return {};
}

}  // namespace

Result<std::optional<std::string>> secret_of_environment() {
  const char* secret = std::getenv(kSecretVariable);
  if (secret == nullptr) return std::nullopt;
  if (std::strlen(secret) < kShortestSecret) {
    return fail(ErrorCode::invalid_argument, "{} has {} characters; it needs {} or more",
                kSecretVariable, std::strlen(secret), kShortestSecret);
  }
  return std::string(secret);
}

Result<MessageKey> MessageKey::exchange(Communicator& ranks,
                                        const std::optional<std::string>& secret) {
  if (sodium_init() < 0) return fail(ErrorCode::internal, "libsodium does not start");
  TETRAD_TRY(check_who_has_one(ranks, secret.has_value()));
  std::array<unsigned char, 32> drawn{};
  if (ranks.rank() == 0) randombytes_buf(drawn.data(), drawn.size());
  TETRAD_TRY(ranks.broadcast(std::as_writable_bytes(std::span(drawn)), 0));

  MessageKey key;
  crypto_generichash_state state;
  // A secret of any length becomes the hash's key.
  std::array<unsigned char, crypto_generichash_KEYBYTES> hashed{};
  const std::string known = secret.value_or("");
  crypto_generichash(hashed.data(), hashed.size(), as_bytes_of_sodium(known.data()), known.size(),
                     nullptr, 0);
  crypto_generichash_init(&state, hashed.data(), hashed.size(), key.key_.size());
  crypto_generichash_update(&state, as_bytes_of_sodium(kKeyPurpose.data()), kKeyPurpose.size());
  crypto_generichash_update(&state, drawn.data(), drawn.size());
  crypto_generichash_final(&state, key.key_.data(), key.key_.size());

  // Each shows that it has the key.
  const auto mine = key.mac_of(bytes_of_text(proof_text(ranks.rank())));
  std::vector<std::byte> all(kMacBytes * static_cast<size_t>(ranks.size()));
  TETRAD_TRY(ranks.all_gather(mine, all));
  for (int rank = 0; rank < ranks.size(); ++rank) {
    const auto theirs = std::span(all).subspan(static_cast<size_t>(rank) * kMacBytes);
    if (key.verify(bytes_of_text(proof_text(rank)), theirs.first<kMacBytes>())) continue;
    return fail(ErrorCode::invalid_argument, "rank {} has another {} than rank {}", rank,
                kSecretVariable, ranks.rank());
  }
  return key;
}

std::array<std::byte, kMacBytes> MessageKey::mac_of(std::span<const std::byte> bytes) const {
  std::array<std::byte, kMacBytes> mac{};
  crypto_auth(reinterpret_cast<unsigned char*>(mac.data()), as_bytes_of_sodium(bytes.data()),
              bytes.size(), key_.data());
  return mac;
}

bool MessageKey::verify(std::span<const std::byte> bytes,
                        std::span<const std::byte, kMacBytes> mac) const {
  return crypto_auth_verify(as_bytes_of_sodium(mac.data()), as_bytes_of_sodium(bytes.data()),
                            bytes.size(), key_.data()) == 0;
}

}  // namespace tetrad::parallel
