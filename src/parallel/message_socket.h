#pragma once

#include <chrono>
#include <cstddef>
#include <span>

#include "base/error.h"

namespace tetrad::parallel {

/// A stream socket that gives up at a time. Owned.
class MessageSocket {
 public:
  using Time = std::chrono::steady_clock::time_point;
  enum class Outcome { done, late, gone };

  explicit MessageSocket(int file) : file_(file) {}
  MessageSocket(MessageSocket&& other) noexcept;
  MessageSocket& operator=(MessageSocket&& other) noexcept;
  ~MessageSocket();

  /// All of the bytes. `gone`: the other end is closed.
  Outcome send(std::span<const std::byte> bytes, Time until);
  Outcome receive(std::span<std::byte> bytes, Time until);
  /// Both ends are `gone` from now on, for who waits, too. Thread-safe.
  void shut_down() const;

 private:
  Outcome wait(short events, Time until) const;

  int file_;
};

}  // namespace tetrad::parallel
