#pragma once

// The bytes to and from one client, in TLS or not. Internal to src/http: it drags in Asio and
// OpenSSL.

#include <boost/asio/async_result.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <optional>
#include <utility>

namespace tetrad::http {

/// An AsyncReadStream and AsyncWriteStream for Beast, with the deadlines of its tcp_stream. Which
/// of both it is, is decided when the client comes: so that what reads and writes HTTP is compiled
/// once.
class ClientStream {
 public:
  using executor_type = boost::beast::tcp_stream::executor_type;

  /// `tls`: null for plain bytes; else handshake() comes before anything else.
  ClientStream(boost::asio::ip::tcp::socket socket, boost::asio::ssl::context* tls)
      : tcp_(std::move(socket)) {
    if (tls != nullptr) tls_.emplace(tcp_, *tls);
  }

  executor_type get_executor() { return tcp_.get_executor(); }
  boost::asio::ip::tcp::socket& socket() { return tcp_.socket(); }
  /// Without TLS around it: what comes is not for reading.
  boost::beast::tcp_stream& tcp() { return tcp_; }
  bool is_encrypted() const { return tls_.has_value(); }

  /// The deadline of everything below that begins from now on.
  void expires_after(std::chrono::steady_clock::duration time) { tcp_.expires_after(time); }
  void close() { tcp_.close(); }

  /// Only with TLS.
  template <class Token>
  auto async_handshake(Token&& token) {
    return tls_->async_handshake(boost::asio::ssl::stream_base::server, std::forward<Token>(token));
  }
  /// Says that nothing follows, and waits for the client to say the same. Only with TLS.
  template <class Token>
  auto async_shutdown(Token&& token) {
    return tls_->async_shutdown(std::forward<Token>(token));
  }

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return boost::asio::async_initiate<Token, void(boost::system::error_code, size_t)>(
        [this](auto handler, const Buffers& into) {
          if (tls_) {
            tls_->async_read_some(into, std::move(handler));
          } else {
            tcp_.async_read_some(into, std::move(handler));
          }
        },
        token, buffers);
  }

  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return boost::asio::async_initiate<Token, void(boost::system::error_code, size_t)>(
        [this](auto handler, const Buffers& from) {
          if (tls_) {
            tls_->async_write_some(from, std::move(handler));
          } else {
            tcp_.async_write_some(from, std::move(handler));
          }
        },
        token, buffers);
  }

 private:
  boost::beast::tcp_stream tcp_;
  std::optional<boost::asio::ssl::stream<boost::beast::tcp_stream&>> tls_;
};

}  // namespace tetrad::http
