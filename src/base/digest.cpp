#include "base/digest.h"

#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "base/system_error.h"

namespace tetrad {
namespace {

constexpr size_t kDigestBytes = 32;
constexpr size_t kPieceBytes = size_t{1} << 20;

}  // namespace

struct Digest::State {
  crypto_generichash_blake2b_state blake;
};

Digest::Digest() : state_(std::make_unique<State>()) {
  crypto_generichash_blake2b_init(&state_->blake, nullptr, 0, kDigestBytes);
}

Digest::Digest(Digest&& other) noexcept = default;
Digest& Digest::operator=(Digest&& other) noexcept = default;
Digest::~Digest() = default;

void Digest::add(std::span<const std::byte> bytes) {
  crypto_generichash_blake2b_update(
      &state_->blake, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

void Digest::add(std::string_view text) {
  add(std::as_bytes(std::span(text)));
}

std::string Digest::finish() {
  std::array<unsigned char, kDigestBytes> hash{};
  crypto_generichash_blake2b_final(&state_->blake, hash.data(), hash.size());
  std::array<char, 2 * kDigestBytes + 1> text{};
  sodium_bin2hex(text.data(), text.size(), hash.data(), hash.size());
  return {text.data(), 2 * kDigestBytes};
}

std::string digest_of(std::string_view text) {
  Digest digest;
  digest.add(text);
  return digest.finish();
}

Result<std::string> digest_of_file(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return system_error(path, "open");
  Digest digest;
  std::vector<std::byte> piece(kPieceBytes);
  ssize_t got = 0;
  do {
    got = ::read(fd, piece.data(), piece.size());
    if (got > 0) digest.add(std::span(piece).first(static_cast<size_t>(got)));
  } while (got > 0 || (got < 0 && errno == EINTR));
  const auto failed = system_error(path, "read");
  // Best effort: a file of many GB must not push out of the page cache what is still to be read.
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
  if (got < 0) return failed;
  return digest.finish();
}

}  // namespace tetrad
