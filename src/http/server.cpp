#include "http/server.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <optional>
#include <unordered_set>
#include <utility>

#include "api/error_response.h"
#include "base/log.h"
#include "http/connection.h"

namespace tetrad::http {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using tcp = asio::ip::tcp;

// Parsing and rendering are short; two threads keep one huge prompt from delaying everybody.
constexpr size_t kNumWorkers = 2;
constexpr std::chrono::milliseconds kAcceptPause{100};
// For the last words of requests that were cancelled.
constexpr std::chrono::milliseconds kLastWordsTime{2'000};

tl::unexpected<Error> flag_error(std::string_view flag, std::string message) {
  return tl::unexpected<Error>(
      Error{ErrorCode::io, fmt::format("{}: {}", flag, message), std::string(flag)});
}

Result<tcp::endpoint> resolve(asio::io_context& io, const ServerOptions& options) {
  tcp::resolver resolver(io);
  error_code ec;
  const auto found =
      resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, ec);
  if (ec || found.empty()) {
    return flag_error("--host", fmt::format("'{}' is not an address of this machine: {}",
                                            options.host, ec.message()));
  }
  tcp::endpoint chosen = found.begin()->endpoint();
  for (const auto& entry : found) {
    if (entry.endpoint().address().is_v4()) chosen = entry.endpoint();
  }
  if (options.loopback_only && !chosen.address().is_loopback()) {
    return flag_error("--host",
                      fmt::format("{} can be reached from other machines and no API key is set; "
                                  "set one with --api-key, or say --allow-unauthenticated",
                                  chosen.address().to_string()));
  }
  return chosen;
}

Result<void> open(tcp::acceptor& acceptor, const tcp::endpoint& endpoint) {
  error_code ec;
  acceptor.open(endpoint.protocol(), ec);
  if (!ec) acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec) acceptor.bind(endpoint, ec);
  if (!ec) acceptor.listen(asio::socket_base::max_listen_connections, ec);
  if (!ec) return {};
  if (ec == asio::error::address_in_use) {
    return flag_error("--port",
                      fmt::format("port {} on {} is in use by another program; stop it, or choose "
                                  "another port (0: any free one)",
                                  endpoint.port(), endpoint.address().to_string()));
  }
  return flag_error("--port", fmt::format("cannot listen on port {} of {}: {}", endpoint.port(),
                                          endpoint.address().to_string(), ec.message()));
}

}  // namespace

class Server::Impl {
 public:
  Impl(ServerOptions options, api::RequestHandler& handler)
      : options_(std::move(options)), context_{options_, handler, workers_} {}

  Result<void> listen() {
    if (options_.tls.enabled()) {
      TETRAD_ASSIGN(TlsContext tls, make_tls_context(options_.tls));
      context_.tls = &tls_.emplace(tls.release());
    }
    TETRAD_ASSIGN(const tcp::endpoint endpoint, resolve(io_, options_));
    TETRAD_TRY(open(acceptor_, endpoint));
    error_code ec;
    endpoint_ = acceptor_.local_endpoint(ec);
    return {};
  }

  const tcp::endpoint& endpoint() const { return endpoint_; }

  End run() {
    asio::co_spawn(io_, accept_clients(), rethrow);
    asio::co_spawn(io_, obey_signals(), rethrow);
    io_.run();
    return end_;
  }

  void stop() {
    asio::post(io_, [this] { leave(); });
  }

  bool is_leaving() const { return leaving_; }
  bool is_draining() const { return draining_; }

 private:
  static constexpr auto kAwaitTuple = asio::as_tuple(asio::use_awaitable);

  static void rethrow(const std::exception_ptr& exception) {
    if (exception) std::rethrow_exception(exception);
  }

  asio::awaitable<void> accept_clients() {
    asio::steady_timer pause(io_);
    while (!winding_up_) {
      auto [ec, socket] = co_await acceptor_.async_accept(kAwaitTuple);
      if (winding_up_) break;
      if (ec) {  // out of file descriptors, or the client was faster to leave
        log::warn("cannot accept a connection: {}", ec.message());
        pause.expires_after(kAcceptPause);
        co_await pause.async_wait(kAwaitTuple);
      } else if (static_cast<int64_t>(connections_.size()) >= options_.max_connections) {
        turn_away(socket);
      } else {
        start(std::move(socket));
      }
    }
  }

  void start(tcp::socket socket) {
    auto connection = std::make_shared<Connection>(std::move(socket), context_);
    connections_.insert(connection);
    if (draining_) connection->drain();
    asio::co_spawn(io_, connection->serve(),
                   [this, connection](const std::exception_ptr& exception) {
                     if (exception) report(exception);
                     connections_.erase(connection);
                     if (draining_) wind_up_if_done();
                   });
  }

  /// A connection's coroutine reports failures as values; what still throws costs one connection.
  static void report(const std::exception_ptr& exception) {
    try {
      std::rethrow_exception(exception);
    } catch (const std::exception& error) {
      log::error("a connection failed: {}", error.what());
    }
  }

  /// Says 503 as far as that goes without waiting.
  void turn_away(tcp::socket& socket) const {
    if (context_.tls != nullptr) return;  // it would have to shake hands first
    api::JsonResponse response =
        api::error_response(503,
                            fmt::format("this server has {} connections already; try again later",
                                        options_.max_connections),
                            "overloaded");
    response.headers.push_back({"Retry-After", "1"});
    error_code ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(format_response(response, {.keep_alive = false})), ignored);
    socket.shutdown(tcp::socket::shutdown_send, ignored);
  }

  asio::awaitable<void> obey_signals() {
    if (!leaving_) {  // a stop() before run() has cancelled a wait that had not begun
      const auto [first_error, first] = co_await signals_.async_wait(kAwaitTuple);
      if (first_error) co_return;
      leave();
    }
    if (draining_ && connections_.empty()) co_return;
    const auto [second_error, second] = co_await signals_.async_wait(kAwaitTuple);
    if (second_error) co_return;
    drain();
    close_all(End::interrupted);
  }

  void leave() {
    if (leaving_.exchange(true)) return;
    if (options_.drain_delay > options_.drain_delay.zero()) {
      asio::co_spawn(io_, drain_later(), rethrow);
    } else {
      drain();
    }
  }

  asio::awaitable<void> drain_later() {
    drain_timer_.expires_after(options_.drain_delay);
    co_await drain_timer_.async_wait(kAwaitTuple);
    drain();
  }

  void drain() {
    if (draining_.exchange(true)) return;
    for (const auto& connection : connections_) {
      connection->drain();
      connection->end_if_idle();
    }
    wind_up_if_done();
    if (!winding_up_) asio::co_spawn(io_, limit_shutdown(), rethrow);
  }

  /// With the last running request the reason to stay is gone: who has not asked anything yet is
  /// not waited for, and who reads a refusal not for long.
  void wind_up_if_done() {
    const auto is_responding = [](const auto& connection) { return connection->is_responding(); };
    if (!winding_up_ && std::ranges::none_of(connections_, is_responding)) {
      winding_up_ = true;
      error_code ignored;
      acceptor_.close(ignored);
      shutdown_timer_.cancel();
      for (const auto& connection : connections_)
        connection->end_if_idle();
      if (!connections_.empty()) asio::co_spawn(io_, close_stragglers(), rethrow);
    }
    if (winding_up_ && connections_.empty()) finish();
  }

  asio::awaitable<void> close_stragglers() {
    straggler_timer_.expires_after(kLastWordsTime);
    const auto [gone] = co_await straggler_timer_.async_wait(kAwaitTuple);
    if (!gone) close_all(end_);
  }

  asio::awaitable<void> limit_shutdown() {
    shutdown_timer_.expires_after(options_.shutdown_timeout);
    const auto [drained] = co_await shutdown_timer_.async_wait(kAwaitTuple);
    if (drained) co_return;
    end_ = End::timed_out;
    for (const auto& connection : connections_)
      connection->cancel_request();
    shutdown_timer_.expires_after(kLastWordsTime);
    const auto [said] = co_await shutdown_timer_.async_wait(kAwaitTuple);
    if (!said) close_all(End::timed_out);
  }

  void close_all(End end) {
    end_ = end;
    for (const auto& connection : connections_)
      connection->close();
  }

  /// Nothing is left to wait for: io_.run() returns.
  void finish() {
    error_code ignored;
    signals_.cancel(ignored);
    drain_timer_.cancel();
    shutdown_timer_.cancel();
    straggler_timer_.cancel();
  }

  const ServerOptions options_;
  asio::io_context io_{1};
  tcp::acceptor acceptor_{io_};
  asio::signal_set signals_{io_, SIGINT, SIGTERM};
  asio::steady_timer drain_timer_{io_};
  asio::steady_timer shutdown_timer_{io_};
  asio::steady_timer straggler_timer_{io_};
  std::optional<asio::ssl::context> tls_;
  tcp::endpoint endpoint_;
  std::unordered_set<std::shared_ptr<Connection>> connections_;
  std::atomic<bool> leaving_{false};
  std::atomic<bool> draining_{false};
  bool winding_up_ = false;  // nothing runs any more
  End end_ = End::drained;
  asio::thread_pool workers_{kNumWorkers};
  ConnectionContext context_;
};

Result<std::unique_ptr<Server>> Server::listen(ServerOptions options,
                                               api::RequestHandler& handler) {
  auto impl = std::make_unique<Impl>(std::move(options), handler);
  TETRAD_TRY(impl->listen());
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

std::string Server::address() const {
  const tcp::endpoint& endpoint = impl_->endpoint();
  const std::string address = endpoint.address().to_string();
  return fmt::format(fmt::runtime(endpoint.address().is_v6() ? "[{}]:{}" : "{}:{}"), address,
                     endpoint.port());
}

uint16_t Server::port() const {
  return impl_->endpoint().port();
}
Server::End Server::run() {
  return impl_->run();
}
void Server::stop() {
  impl_->stop();
}
bool Server::is_leaving() const {
  return impl_->is_leaving();
}
bool Server::is_draining() const {
  return impl_->is_draining();
}

}  // namespace tetrad::http
