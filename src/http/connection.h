#pragma once

// One client's connection. Internal to src/http: it drags in Asio.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <memory>

#include "http/client_stream.h"
#include "http/outbox.h"
#include "http/response_writer.h"
#include "http/server.h"

namespace tetrad::http {

/// What the connections of one server share.
struct ConnectionContext {
  const ServerOptions& options;
  api::RequestHandler& handler;
  boost::asio::thread_pool& workers;         // where requests are parsed and rendered
  boost::asio::ssl::context* tls = nullptr;  // null: plain HTTP
};

/// Everything but what an Outbox does happens on the I/O thread.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(boost::asio::ip::tcp::socket socket, ConnectionContext& context);

  /// Answers request after request until the client, a timeout or drain() ends it.
  boost::asio::awaitable<void> serve();

  /// The next response is the last.
  void drain();
  /// Ends it if it waits for a request.
  void end_if_idle();
  /// Whether a handler has a request of it that is not answered completely.
  bool is_responding() const { return outbox_ != nullptr; }
  /// Makes a running request end early, with what its producer says to that.
  void cancel_request();
  /// Ends it now.
  void close();

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  /// Whether another request may follow on this connection.
  enum class Next { request, end };

  boost::asio::awaitable<bool> handshake();
  boost::asio::awaitable<void> serve_requests();
  boost::asio::awaitable<bool> wait_for_first_byte();
  boost::asio::awaitable<Next> serve_request();
  boost::asio::awaitable<bool> read_body(Parser& parser, uint64_t declared_size);
  boost::asio::awaitable<void> refuse(int status, std::string_view message, std::string_view code);
  boost::asio::awaitable<void> refuse_unreadable(boost::system::error_code ec);
  boost::asio::awaitable<Next> respond(api::HttpRequest request, ResponseForm form);

  boost::asio::awaitable<bool> write_response(Outbox& outbox);
  boost::asio::awaitable<void> watch_for_disconnect();
  boost::asio::awaitable<bool> write(std::string_view bytes, const Outbox* outbox = nullptr);
  boost::asio::awaitable<void> say_goodbye();
  boost::asio::awaitable<void> linger();

  ConnectionContext& context_;
  ClientStream stream_;
  boost::beast::flat_buffer buffer_;  // read and not yet parsed
  boost::asio::steady_timer news_;    // never expires: cancelled when an outbox has news
  std::shared_ptr<Outbox> outbox_;    // of the running response
  bool idle_ = false;
  bool draining_ = false;
  bool has_unread_input_ = false;     // of a request that was refused
  bool cut_off_ = false;              // the last response is not complete
  std::vector<api::Header> headers_;  // that every answer to the present request carries
};

}  // namespace tetrad::http
