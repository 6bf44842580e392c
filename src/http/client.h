#pragma once

// An HTTP/1.1 client for many requests at once on one thread: an event loop with sockets and
// timers. It is an interface, so that what drives it can be tested without sockets and in virtual
// time.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "http/url.h"

namespace tetrad::http {

struct ClientRequest {
  std::string method = "GET";
  std::string target = "/";  // path and query below Url::path
  std::string content_type;  // "": no body
  std::string bearer_token;  // "": no Authorization header
  std::string body;
};

struct ClientOptions {
  Seconds connect_timeout{10};
  /// Without a byte from the server. A server may queue a request for long before it answers.
  Seconds silence_timeout{300};
  uint32_t max_header_bytes = 64 << 10;
  uint64_t max_body_bytes = 256 << 20;
};

/// Receives one response. Everything is called from Client::run().
class ResponseSink {
 public:
  virtual ~ResponseSink() = default;
  /// content_type: as sent, "" if it was not.
  virtual void on_head(int status, std::string_view content_type) = 0;
  /// Bytes of the body as they come, chunked coding removed. False: no more is wanted; the
  /// connection is closed and on_end() says `cancelled`.
  virtual bool on_body(std::string_view bytes) = 0;
  /// Exactly once and last, unless stop() comes first. An error if there was no complete response.
  virtual void on_end(Result<void> end) = 0;
};

using ExchangeId = uint64_t;

class Client {
 public:
  virtual ~Client() = default;

  /// Begins a request, on a connection of its own: a request that is abandoned closes it, and that
  /// is how a server learns of it.
  virtual ExchangeId send(ClientRequest request, std::shared_ptr<ResponseSink> sink) = 0;
  /// Closes the connection; on_end() then says `cancelled`. Of one that has ended: does nothing.
  virtual void cancel(ExchangeId id) = 0;
  virtual void call_after(Seconds delay, std::function<void()> callback) = 0;

  /// Works until nothing is left to do or stop() is called; may be called again after that.
  virtual void run() = 0;
  /// From a callback: run() returns, and what is under way is abandoned without another call.
  virtual void stop() = 0;
};

/// Resolves the host once. The error names it.
Result<std::unique_ptr<Client>> make_client(const Url& url, const ClientOptions& options);

}  // namespace tetrad::http
