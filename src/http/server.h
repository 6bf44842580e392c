#pragma once

// HTTP/1.1 on sockets (Boost.Beast, C++20 coroutines), behind a pimpl: Beast costs every file that
// includes it 20 seconds.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "api/cors.h"
#include "api/transport.h"
#include "base/error.h"
#include "http/tls.h"

namespace tetrad::http {

struct ServerOptions {
  std::string host = "127.0.0.1";  // a name or an address
  uint16_t port = 8000;            // 0: any free one
  /// Refuse addresses that other machines reach.
  bool loopback_only = true;
  TlsFiles tls;
  api::Cors cors;

  int64_t max_connections = 1024;
  uint32_t max_header_bytes = 64 << 10;
  uint64_t max_body_bytes = 32 << 20;
  /// Bytes of a stream that its client has not taken yet: beyond the first number its producer is
  /// asked to pause, beyond the second the client is dropped.
  size_t pause_backlog_bytes = 64 << 10;
  size_t max_backlog_bytes = 1 << 20;

  std::chrono::milliseconds handshake_timeout{10'000};  // of TLS
  std::chrono::milliseconds header_timeout{30'000};
  std::chrono::milliseconds body_timeout{120'000};
  std::chrono::milliseconds idle_timeout{75'000};   // between requests
  std::chrono::milliseconds write_timeout{30'000};  // without a byte taken by the client
  /// How long a stream may stay paused for its client, which holds memory and a place meanwhile.
  std::chrono::milliseconds stall_timeout{120'000};
  /// How long new requests are still taken after the first signal: the time that a gateway's probes
  /// need to see that the server is leaving.
  std::chrono::milliseconds drain_delay{0};
  /// How long running requests may go on after that.
  std::chrono::milliseconds shutdown_timeout{30'000};
};

class Server {
 public:
  /// Listens; nobody is answered before run(). The handler must outlive the server. Errors name the
  /// flag at fault: a name that does not resolve, a port in use, an address that is not loopback.
  static Result<std::unique_ptr<Server>> listen(ServerOptions options,
                                                api::RequestHandler& handler);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// "127.0.0.1:8000", "[::1]:8000".
  std::string address() const;
  uint16_t port() const;

  enum class End {
    drained,      // every request got its answer
    timed_out,    // some were cancelled after shutdown_timeout
    interrupted,  // a second signal
  };
  /// Serves on this thread until SIGINT, SIGTERM or stop(). From then on is_leaving(), and after
  /// drain_delay is_draining(): running requests may finish, and as long as one runs new
  /// connections are accepted for one request each, so that probes and clients hear from the
  /// handler that this server is leaving. When it returns no connection is left, and writers that
  /// are still held elsewhere do nothing.
  End run();

  /// Whether a signal or stop() has come. Thread-safe.
  bool is_leaving() const;
  /// Whether new requests are refused. Thread-safe.
  bool is_draining() const;

  /// What the first signal does. Thread-safe.
  void stop();

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tetrad::http
