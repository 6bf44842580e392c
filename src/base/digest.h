#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tetrad {

/// BLAKE2b with 256 bits, without a key, as `b2sum -l 256` prints it: what tells whether a file is
/// still the one that was written.
class Digest {
 public:
  Digest();
  Digest(Digest&& other) noexcept;
  Digest& operator=(Digest&& other) noexcept;
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;
  ~Digest();

  void add(std::span<const std::byte> bytes);
  void add(std::string_view text);
  /// 64 hexadecimal digits. Nothing can be added afterwards.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string digest_of(std::string_view text);
/// Of a whole file, which is read in pieces and leaves no trace in the page cache.
Result<std::string> digest_of_file(const std::filesystem::path& path);

}  // namespace tetrad
