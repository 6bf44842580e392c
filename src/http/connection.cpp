#include "http/connection.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <utility>

#include "api/error_response.h"
#include "base/log.h"

namespace tetrad::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::awaitable;
using tcp = asio::ip::tcp;

// Errors as values: a client that goes away is nothing exceptional.
constexpr auto kAwaitTuple = asio::as_tuple(asio::use_awaitable);

constexpr size_t kReadSize = 16 << 10;
constexpr size_t kWriteSize = 64 << 10;
constexpr std::chrono::milliseconds kLingerTime{5'000};
constexpr std::chrono::milliseconds kGoodbyeTime{1'000};
// Of what is not sent yet the system keeps this much, not the megabytes it would otherwise take
// before anybody noticed that a client does not read.
constexpr int kMaxUnsentBytes = 64 << 10;
constexpr std::chrono::milliseconds kDisconnectPollTime{500};

/// Whether the other side has closed, or shut down its sending half. Unlike a read it sees that
/// behind unread bytes.
bool peer_has_closed(int socket) {
  pollfd query{.fd = socket, .events = POLLRDHUP, .revents = 0};
  if (poll(&query, 1, 0) <= 0) return false;
  return (query.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

api::RequestHead read_head(const beast::http::request<beast::http::string_body>& message) {
  return {
      .method = std::string(message.method_string()),
      .target = std::string(message.target()),
      .authorization = std::string(message[beast::http::field::authorization]),
      .content_type = std::string(message[beast::http::field::content_type]),
      .api_key = std::string(message["x-api-key"]),
      .origin = std::string(message[beast::http::field::origin]),
      .requested_method = std::string(message[beast::http::field::access_control_request_method]),
      .requested_headers =
          std::string(message[beast::http::field::access_control_request_headers])};
}

/// Runs on a worker. A writer that is dropped unanswered answers 500.
void handle(api::RequestHandler& handler, api::HttpRequest request,
            std::shared_ptr<api::ResponseWriter> writer) {
  try {
    handler.handle(std::move(request), std::move(writer));
  } catch (const std::exception& error) {  // std::bad_alloc, or a bug
    log::error("a request failed: {}", error.what());
  }
}

}  // namespace

Connection::Connection(tcp::socket socket, ConnectionContext& context)
    : context_(context),
      stream_(std::move(socket), context.tls),
      buffer_(context.options.max_header_bytes + kReadSize),
      news_(stream_.get_executor()) {
  boost::system::error_code ignored;
  stream_.socket().set_option(tcp::no_delay(true), ignored);
  setsockopt(stream_.socket().native_handle(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kMaxUnsentBytes,
             sizeof kMaxUnsentBytes);
}

// In coroutines each co_await stands in a statement of its own and gets named objects: g++ 12
// miscompiles one that is an operand of && or part of a loop's condition, and destroys temporaries
// of braces twice.

awaitable<void> Connection::serve() {
  const bool secured = co_await handshake();
  if (secured) {
    co_await serve_requests();
    co_await say_goodbye();
    if (has_unread_input_) co_await linger();
  }
  close();
}

awaitable<bool> Connection::handshake() {
  if (!stream_.is_encrypted()) co_return true;
  stream_.expires_after(context_.options.handshake_timeout);
  const auto [ec] = co_await stream_.async_handshake(kAwaitTuple);
  if (ec) log::debug("a client's TLS handshake failed: {}", ec.message());
  co_return !ec;
}

awaitable<void> Connection::serve_requests() {
  Next next = Next::request;
  do {
    const bool has_come = co_await wait_for_first_byte();
    if (!has_come) co_return;
    next = co_await serve_request();
  } while (next == Next::request && !draining_);
}

void Connection::drain() {
  draining_ = true;
}

void Connection::end_if_idle() {
  if (idle_) stream_.socket().cancel();
}

void Connection::cancel_request() {
  if (outbox_) outbox_->cancel();
}

void Connection::close() {
  stream_.close();
}

awaitable<bool> Connection::wait_for_first_byte() {
  if (buffer_.size() > 0) co_return true;
  idle_ = true;
  stream_.expires_after(context_.options.idle_timeout);
  const auto [ec, count] =
      co_await stream_.async_read_some(buffer_.prepare(kReadSize), kAwaitTuple);
  buffer_.commit(count);
  idle_ = false;
  co_return !ec;
}

awaitable<Connection::Next> Connection::serve_request() {
  const ServerOptions& options = context_.options;
  headers_.clear();
  Parser parser;
  parser.header_limit(options.max_header_bytes);
  parser.body_limit(boost::none);  // set once it is known that the body is wanted at all
  stream_.expires_after(options.header_timeout);
  auto [header_error, header_size] =
      co_await beast::http::async_read_header(stream_, buffer_, parser, kAwaitTuple);
  if (header_error) {
    co_await refuse_unreadable(header_error);
    co_return Next::end;
  }

  api::RequestHead head = read_head(parser.get());
  headers_ = options.cors.headers(head);
  const uint64_t body_size = parser.content_length().value_or(0);
  const bool http_1_0 = parser.get().version() == 10;
  ResponseForm form{.http_1_0 = http_1_0,
                    .keep_alive = parser.get().keep_alive() && !http_1_0 && !draining_,
                    .head_only = head.method == "HEAD",
                    .headers = headers_};
  // A browser asks without a key whether it may ask with one.
  std::optional<api::JsonResponse> refusal = options.cors.preflight(head);
  if (!refusal) refusal = context_.handler.refuse(head);
  if (refusal) {
    // The body stays unread, so nothing can follow it.
    has_unread_input_ = parser.chunked() || body_size > 0;
    form.keep_alive = form.keep_alive && !has_unread_input_;
    const std::string response = format_response(*refusal, form);
    const bool written = co_await write(response);
    const bool may_follow = written && form.keep_alive;
    co_return may_follow ? Next::request : Next::end;
  }
  const bool has_body = co_await read_body(parser, body_size);
  if (!has_body) co_return Next::end;
  api::HttpRequest request;
  request.head = std::move(head);
  request.body = std::move(parser.get().body());
  const Next next = co_await respond(std::move(request), form);
  co_return next;
}

/// False if there was none to be had; the client has been told why.
awaitable<bool> Connection::read_body(Parser& parser, uint64_t declared_size) {
  const ServerOptions& options = context_.options;
  if (declared_size > options.max_body_bytes) {
    co_await refuse_unreadable(beast::http::error::body_limit);
    co_return false;
  }
  parser.body_limit(options.max_body_bytes);
  const std::string_view expectation = parser.get()[beast::http::field::expect];
  if (beast::iequals(expectation, "100-continue")) {
    const bool invited = co_await write("HTTP/1.1 100 Continue\r\n\r\n");
    if (!invited) co_return false;
  } else if (!expectation.empty()) {
    co_await refuse(417, "the only expectation met here is 100-continue", "");
    co_return false;
  }
  stream_.expires_after(options.body_timeout);
  const auto [ec, size] = co_await beast::http::async_read(stream_, buffer_, parser, kAwaitTuple);
  if (ec) co_await refuse_unreadable(ec);
  co_return !ec;
}

awaitable<void> Connection::refuse(int status, std::string_view message, std::string_view code) {
  const ResponseForm form{.keep_alive = false, .headers = headers_};
  const std::string response = format_response(api::error_response(status, message, code), form);
  has_unread_input_ = co_await write(response);
}

/// Says why a request could not be read, unless the client is gone or was too slow.
awaitable<void> Connection::refuse_unreadable(boost::system::error_code ec) {
  using beast::http::error;
  const ServerOptions& options = context_.options;
  int status = 400;
  std::string message = fmt::format("this is not HTTP/1.1: {}", ec.message());
  std::string_view code = "malformed_http";
  if (ec == error::body_limit) {
    status = 413;
    message = fmt::format("the request body is larger than the limit of {} bytes",
                          options.max_body_bytes);
    code = "request_too_large";
  } else if (ec == error::header_limit || ec == error::buffer_overflow) {
    status = 431;
    message = fmt::format("the request's headers are larger than the limit of {} bytes",
                          options.max_header_bytes);
    code = "headers_too_large";
  } else if (ec.category() != make_error_code(error::bad_method).category() ||
             ec == error::end_of_stream || ec == error::partial_message) {
    co_return;
  }
  co_await refuse(status, message, code);
}

awaitable<Connection::Next> Connection::respond(api::HttpRequest request, ResponseForm form) {
  // The outbox may outlive this connection in the hands of a producer.
  auto wake = [weak = weak_from_this(), executor = stream_.get_executor()] {
    asio::post(executor, [weak] {
      if (const auto self = weak.lock()) self->news_.cancel();
    });
  };
  const Outbox::Limits limits{.pause_bytes = context_.options.pause_backlog_bytes,
                              .max_bytes = context_.options.max_backlog_bytes};
  const auto outbox = std::make_shared<Outbox>(limits, std::move(wake));
  outbox_ = outbox;
  asio::post(context_.workers, [&handler = context_.handler, request = std::move(request),
                                writer = std::make_shared<OutboxWriter>(outbox, form)]() mutable {
    handle(handler, std::move(request), std::move(writer));
  });

  using namespace asio::experimental::awaitable_operators;  // ||: the first one ends the other
  const auto first = co_await (write_response(*outbox) || watch_for_disconnect());
  const bool complete = first.index() == 0 && std::get<0>(first);
  outbox_.reset();
  outbox->close();
  cut_off_ = !complete;
  const bool may_follow = form.keep_alive && !draining_;
  co_return complete&& may_follow ? Next::request : Next::end;
}

/// True if the response went out completely.
awaitable<bool> Connection::write_response(Outbox& outbox) {
  for (;;) {
    const Outbox::Batch batch = outbox.take();
    const bool written = co_await write(batch.bytes, &outbox);
    if (!written) co_return false;
    if (batch.state == Outbox::State::finished) co_return true;
    if (batch.state == Outbox::State::broken) co_return false;
    if (!batch.bytes.empty()) continue;
    news_.expires_at(std::chrono::steady_clock::time_point::max());
    co_await news_.async_wait(kAwaitTuple);
  }
}

/// Returns when the client has closed its side.
awaitable<void> Connection::watch_for_disconnect() {
  asio::steady_timer pause(stream_.get_executor());
  for (;;) {
    const auto [ec] = co_await stream_.socket().async_wait(tcp::socket::wait_read, kAwaitTuple);
    if (ec || peer_has_closed(stream_.socket().native_handle())) break;
    // The first bytes of a next request keep the socket readable, so only a look now and then
    // tells what comes behind them.
    pause.expires_after(kDisconnectPollTime);
    co_await pause.async_wait(kAwaitTuple);
  }
  stream_.socket().cancel();
}

/// In pieces, each with its deadline, so that a slow client that makes progress is not cut off,
/// unless the producer of `outbox` has had to wait for too long.
awaitable<bool> Connection::write(std::string_view bytes, const Outbox* outbox) {
  while (!bytes.empty()) {
    std::chrono::steady_clock::duration left = context_.options.write_timeout;
    const auto paused_since = outbox == nullptr ? std::nullopt : outbox->paused_since();
    if (paused_since) {
      const auto waited = std::chrono::steady_clock::now() - *paused_since;
      left = std::min<std::chrono::steady_clock::duration>(left,
                                                           context_.options.stall_timeout - waited);
    }
    if (left <= left.zero()) co_return false;
    stream_.expires_after(left);
    const auto [ec, count] = co_await stream_.async_write_some(
        asio::buffer(bytes.data(), std::min(bytes.size(), kWriteSize)), kAwaitTuple);
    if (ec) co_return false;
    bytes.remove_prefix(count);
  }
  co_return true;
}

/// Tells a TLS client that the end of the bytes is the end, unless it is not.
awaitable<void> Connection::say_goodbye() {
  if (!stream_.is_encrypted() || cut_off_) co_return;
  stream_.expires_after(kGoodbyeTime);
  co_await stream_.async_shutdown(kAwaitTuple);
}

/// Closing a socket with unread bytes in it resets the connection, and the client may lose the
/// response that told it why. So wait for its end, for a while.
awaitable<void> Connection::linger() {
  boost::system::error_code ignored;
  stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
  stream_.expires_after(kLingerTime);
  std::array<char, 4096> scratch;
  for (;;) {
    const auto [ec, count] =
        co_await stream_.tcp().async_read_some(asio::buffer(scratch), kAwaitTuple);
    if (ec) co_return;
  }
}

}  // namespace tetrad::http
