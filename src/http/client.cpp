#include "http/client.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <unordered_map>
#include <utility>

namespace tetrad::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::awaitable;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using Endpoints = tcp::resolver::results_type;

constexpr auto kAwaitTuple = asio::as_tuple(asio::use_awaitable);
constexpr size_t kReadSize = 64 << 10;

std::chrono::steady_clock::duration ticks(Seconds time) {
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(time);
}

/// What happened, for a person.
Error transport_error(std::string_view during, error_code ec) {
  if (ec == asio::error::operation_aborted) {
    return {ErrorCode::cancelled, "the request was cancelled", ""};
  }
  if (ec == beast::error::timeout) {
    return {ErrorCode::io, fmt::format("{}: the server did not answer in time", during), ""};
  }
  if (ec == beast::http::error::end_of_stream || ec == beast::http::error::partial_message) {
    return {ErrorCode::io, fmt::format("{}: the server closed the connection early", during), ""};
  }
  if (ec.category() == make_error_code(beast::http::error::bad_version).category()) {
    return {ErrorCode::corrupt_data, fmt::format("{}: bad HTTP/1.1: {}", during, ec.message()), ""};
  }
  return {ErrorCode::io, fmt::format("{}: {}", during, ec.message()), ""};
}

/// One request and its response on a connection of its own.
class Exchange {
 public:
  Exchange(asio::io_context& io, const ClientOptions& options, std::shared_ptr<ResponseSink> sink)
      : options_(options), stream_(io), sink_(std::move(sink)) {}

  // As in connection.cpp, each co_await stands in a statement of its own: g++ 12 miscompiles
  // others.
  awaitable<void> run(const Endpoints& endpoints,
                      beast::http::request<beast::http::string_body> request) {
    if (cancelled_) {
      end("", asio::error::operation_aborted);
      co_return;
    }
    stream_.expires_after(ticks(options_.connect_timeout));
    const auto [connect_error, endpoint] = co_await stream_.async_connect(endpoints, kAwaitTuple);
    if (connect_error) {
      end("cannot connect", connect_error);
      co_return;
    }
    error_code ignored;
    stream_.socket().set_option(tcp::no_delay(true), ignored);
    stream_.expires_after(ticks(options_.silence_timeout));
    const auto [write_error, size] =
        co_await beast::http::async_write(stream_, request, kAwaitTuple);
    // A server that refuses a request early may close before it has read all of it; what it said
    // is still to be read.
    if (write_error && !is_closed_by_peer(write_error)) {
      end("cannot send the request", write_error);
      co_return;
    }
    co_await read_response();
  }

  void cancel() {
    cancelled_ = true;  // run() may not even have begun
    stream_.close();
  }

 private:
  static bool is_closed_by_peer(error_code ec) {
    return ec == asio::error::broken_pipe || ec == asio::error::connection_reset;
  }

  awaitable<void> read_response() {
    beast::flat_buffer buffer(options_.max_header_bytes + kReadSize);
    beast::http::response_parser<beast::http::string_body> parser;
    parser.header_limit(options_.max_header_bytes);
    parser.body_limit(options_.max_body_bytes);
    const auto [head_error, head_size] =
        co_await beast::http::async_read_header(stream_, buffer, parser, kAwaitTuple);
    if (head_error) {
      end("no response", head_error);
      co_return;
    }
    const std::string_view content_type = parser.get()[beast::http::field::content_type];
    sink_->on_head(parser.get().result_int(), content_type);
    // Not eager: an eager parser takes a chunk's end for the beginning of the next one, and holds
    // the chunk back until that comes.
    while (!parser.is_done()) {
      stream_.expires_after(ticks(options_.silence_timeout));
      const auto [ec, count] =
          co_await beast::http::async_read_some(stream_, buffer, parser, kAwaitTuple);
      const std::string bytes = std::exchange(parser.get().body(), {});
      if (!bytes.empty() && !sink_->on_body(bytes)) {
        end("", asio::error::operation_aborted);
        co_return;
      }
      if (ec) {
        end("the response broke off", ec);
        co_return;
      }
    }
    stream_.close();
    sink_->on_end({});
  }

  void end(std::string_view during, error_code ec) {
    // Between two operations a cancel shows itself as a closed socket at the next.
    if (cancelled_) ec = asio::error::operation_aborted;
    stream_.close();
    sink_->on_end(tl::unexpected(transport_error(during, ec)));
  }

  const ClientOptions& options_;
  beast::tcp_stream stream_;
  std::shared_ptr<ResponseSink> sink_;
  bool cancelled_ = false;
};

class AsioClient final : public Client {
 public:
  AsioClient(Url url, const ClientOptions& options) : url_(std::move(url)), options_(options) {}

  Result<void> resolve() {
    error_code ec;
    endpoints_ = tcp::resolver(io_).resolve(url_.host, std::to_string(url_.port), ec);
    if (ec) return fail(ErrorCode::io, "cannot resolve {}: {}", url_.host, ec.message());
    return {};
  }

  ExchangeId send(ClientRequest request, std::shared_ptr<ResponseSink> sink) override {
    const ExchangeId id = ++last_id_;
    auto exchange = std::make_shared<Exchange>(io_, options_, std::move(sink));
    exchanges_.emplace(id, exchange);
    asio::co_spawn(io_, exchange->run(endpoints_, message(std::move(request))),
                   [this, id, exchange](const std::exception_ptr& exception) {
                     exchanges_.erase(id);
                     if (exception) std::rethrow_exception(exception);  // out of memory, or a bug
                   });
    return id;
  }

  void cancel(ExchangeId id) override {
    if (const auto found = exchanges_.find(id); found != exchanges_.end()) found->second->cancel();
  }

  void call_after(Seconds delay, std::function<void()> callback) override {
    auto timer = std::make_shared<asio::steady_timer>(io_, ticks(delay));
    timer->async_wait([timer, callback = std::move(callback)](error_code ec) {
      if (!ec) callback();
    });
  }

  void run() override {
    io_.restart();
    io_.run();
  }

  void stop() override { io_.stop(); }

 private:
  beast::http::request<beast::http::string_body> message(ClientRequest request) const {
    using beast::http::field;
    beast::http::request<beast::http::string_body> message;
    message.version(11);
    message.method_string(request.method);
    message.target(url_.path + request.target);
    message.set(field::host, url_.authority());
    message.set(field::user_agent, "tetrad/" TETRAD_VERSION);
    message.set(field::connection, "close");
    message.set(field::accept, "*/*");
    if (!request.bearer_token.empty()) {
      message.set(field::authorization, "Bearer " + request.bearer_token);
    }
    if (!request.content_type.empty()) {
      message.set(field::content_type, request.content_type);
      message.body() = std::move(request.body);
      message.prepare_payload();
    }
    return message;
  }

  const Url url_;
  const ClientOptions options_;
  asio::io_context io_{1};  // before what has sockets in it
  Endpoints endpoints_;
  ExchangeId last_id_ = 0;
  std::unordered_map<ExchangeId, std::shared_ptr<Exchange>> exchanges_;
};

}  // namespace

Result<std::unique_ptr<Client>> make_client(const Url& url, const ClientOptions& options) {
  auto client = std::make_unique<AsioClient>(url, options);
  TETRAD_TRY(client->resolve());
  return client;
}

}  // namespace tetrad::http
