#include "parallel/message_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace tetrad::parallel {
namespace {

bool is_to_be_repeated() {
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

}  // namespace

MessageSocket::MessageSocket(MessageSocket&& other) noexcept
    : file_(std::exchange(other.file_, -1)) {}

MessageSocket& MessageSocket::operator=(MessageSocket&& other) noexcept {
  std::swap(file_, other.file_);
  return *this;
}

MessageSocket::~MessageSocket() {
  if (file_ >= 0) close(file_);
}

void MessageSocket::shut_down() const {
  static_cast<void>(shutdown(file_, SHUT_RDWR));
}

MessageSocket::Outcome MessageSocket::wait(short events, Time until) const {
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd polled{.fd = file_, .events = events, .revents = 0};
    const int ready =
        poll(&polled, 1, static_cast<int>(std::clamp<int64_t>(left.count(), 0, 60'000)));
    if (ready > 0) return Outcome::done;
    if (ready < 0 && errno != EINTR) return Outcome::gone;
    if (std::chrono::steady_clock::now() >= until) return Outcome::late;
  }
}

MessageSocket::Outcome MessageSocket::send(std::span<const std::byte> bytes, Time until) {
  while (!bytes.empty()) {
    // No signal where the other end is closed.
    const ssize_t sent = ::send(file_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      bytes = bytes.subspan(static_cast<size_t>(sent));
      continue;
    }
    if (!is_to_be_repeated()) return Outcome::gone;
    if (const Outcome outcome = wait(POLLOUT, until); outcome != Outcome::done) return outcome;
  }
  return Outcome::done;
}

MessageSocket::Outcome MessageSocket::receive(std::span<std::byte> bytes, Time until) {
  while (!bytes.empty()) {
    const ssize_t received = recv(file_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (received > 0) {
      bytes = bytes.subspan(static_cast<size_t>(received));
      continue;
    }
    if (received == 0 || !is_to_be_repeated()) return Outcome::gone;
    if (const Outcome outcome = wait(POLLIN, until); outcome != Outcome::done) return outcome;
  }
  return Outcome::done;
}

}  // namespace tetrad::parallel
