#pragma once

// One client's connection. Internal to src/http: it drags in Asio.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <memory>

#include "http/outbox.h"
#include "http/response_writer.h"
#include "http/server.h"

namespace tetrad::http {

/// What the connections of one server share.
struct ConnectionContext {
  const ServerOptions& options;
  api::RequestHandler& handler;
  boost::asio::thread_pool& workers;  // where requests are parsed and rendered
};

/// Everything but what an Outbox does happens on the I/O thread.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(boost::asio::ip::tcp::socket socket, ConnectionContext& context);

  /// Answers request after request until the client, a timeout or drain() ends it.
  boost::asio::awaitable<void> serve();

  /// Ends it after the running response, or now if there is none.
  void drain();
  /// Makes a running request end early, with what its producer says to that.
  void cancel_request();
  /// Ends it now.
  void close();

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  /// Whether another request may follow on this connection.
  enum class Next { request, end };

  boost::asio::awaitable<bool> wait_for_first_byte();
  boost::asio::awaitable<Next> serve_request();
  boost::asio::awaitable<bool> read_body(Parser& parser, uint64_t declared_size);
  boost::asio::awaitable<void> refuse(int status, std::string_view message, std::string_view code);
  boost::asio::awaitable<void> refuse_unreadable(boost::system::error_code ec);
  boost::asio::awaitable<Next> respond(api::HttpRequest request, ResponseForm form);

  boost::asio::awaitable<bool> write_response(Outbox& outbox);
  boost::asio::awaitable<void> watch_for_disconnect();
  boost::asio::awaitable<bool> write(std::string_view bytes);
  boost::asio::awaitable<void> linger();

  ConnectionContext& context_;
  boost::beast::tcp_stream stream_;
  boost::beast::flat_buffer buffer_;  // read and not yet parsed
  boost::asio::steady_timer news_;    // never expires: cancelled when an outbox has news
  std::shared_ptr<Outbox> outbox_;    // of the running response
  bool idle_ = false;
  bool draining_ = false;
  bool has_unread_input_ = false;  // of a request that was refused
};

}  // namespace tetrad::http
