#pragma once

// For tests of the server: a handler that does as the path says, and clients that write bytes, so
// that a client may do what no well-behaved library does.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

#include "http/server.h"

namespace tetrad::http {

class ScriptedHandler final : public api::RequestHandler {
 public:
  std::atomic<int> disconnects{0};
  std::atomic<int> handled{0};
  std::atomic<int> pauses{0};
  std::atomic<int> resumes{0};
  std::function<bool()> is_draining;  // null: never

  std::optional<api::JsonResponse> refuse(const api::RequestHead& head) const override {
    if (head.target == "/refused") return api::JsonResponse{.status = 401, .body = R"("no")"};
    if (head.method == "POST" && is_draining && is_draining()) {
      return api::JsonResponse{.status = 503, .body = R"("leaving")"};
    }
    return std::nullopt;
  }

  void handle(api::HttpRequest request, std::shared_ptr<api::ResponseWriter> writer) override {
    ++handled;
    const std::string& target = request.head.target;
    if (target == "/echo") {
      writer->send({.status = 200, .body = request.body});
    } else if (target == "/throw") {
      throw std::runtime_error("on purpose");
    } else if (target == "/drop") {
      return;
    } else if (target == "/stream") {
      writer->start_events({});
      writer->send_event("one");
      writer->send_event("two");
      writer->finish_events();
    } else if (target == "/break") {
      writer->start_events({});
      writer->send_event("one");
    } else if (target == "/flood") {
      writer->on_disconnect([this] { ++disconnects; });
      writer->start_events({});
      for (int i = 0; i < 40'000; ++i)
        writer->send_event(std::string(1000, 'x'));
      // A writer that is gone hears of nothing.
      const std::scoped_lock lock(mutex_);
      held_.push_back(std::move(writer));
    } else if (target == "/fountain") {
      run_fountain(std::move(writer));
    } else if (target == "/hold") {
      writer->on_disconnect([this] { ++disconnects; });
      const std::scoped_lock lock(mutex_);
      held_.push_back(std::move(writer));
    }
  }

  /// Streams until the client is gone, but not while it is asked to pause.
  void run_fountain(std::shared_ptr<api::ResponseWriter> writer) {
    auto paused = std::make_shared<std::atomic<bool>>(false);
    auto gone = std::make_shared<std::atomic<bool>>(false);
    writer->on_backlog([this, paused](bool now) {
      *paused = now;
      ++(now ? pauses : resumes);
    });
    writer->on_disconnect([this, gone] {
      *gone = true;
      ++disconnects;
    });
    writer->start_events({});
    while (!*gone) {
      if (*paused) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      } else {
        writer->send_event(std::string(1000, 'x'));
        ++events;
      }
    }
  }

  std::atomic<int> events{0};  // of the fountain

  /// Answers the requests to /hold.
  void release() {
    const std::scoped_lock lock(mutex_);
    for (const auto& writer : held_)
      writer->send({.status = 200, .body = R"("released")"});
    held_.clear();
  }

 private:
  std::mutex mutex_;
  std::vector<std::shared_ptr<api::ResponseWriter>> held_;
};

class SocketClient {
 public:
  explicit SocketClient(uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    // What is not read must fill up soon: some systems keep 32 MB for a socket.
    const int receive_buffer = 64 << 10;
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    timeval limit{.tv_sec = 10, .tv_usec = 0};  // a test that hangs fails
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  ~SocketClient() { ::close(socket_); }
  SocketClient(const SocketClient&) = delete;
  SocketClient& operator=(const SocketClient&) = delete;

  void send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // refused half-way: what the server said is still to be read
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
  }

  /// Everything up to the server's end, or up to and with `end`.
  std::string read(std::string_view end = "") const {
    std::string text;
    char byte = 0;
    while (::recv(socket_, &byte, 1, 0) == 1) {
      text += byte;
      if (!end.empty() && text.ends_with(end)) break;
    }
    return text;
  }

  /// Reads so many bytes and forgets them.
  void discard(size_t num_bytes) const {
    std::string scratch(16 << 10, '\0');
    while (num_bytes > 0) {
      const ssize_t count = ::recv(socket_, scratch.data(), std::min(num_bytes, scratch.size()), 0);
      if (count <= 0) return;
      num_bytes -= static_cast<size_t>(count);
    }
  }

  /// Whether the server has ended the connection, as far as can be seen without reading.
  bool is_closed() const {
    char byte = 0;
    return ::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0 ||
           (errno != EAGAIN && errno != EWOULDBLOCK);
  }

 protected:
  int socket_;
};

inline std::string post(std::string_view target, std::string_view body,
                        std::string_view headers = "") {
  return fmt::format("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{}\r\n{}", target,
                     body.size(), headers, body);
}

class HttpServer : public testing::Test {
 protected:
  void start(ServerOptions options = {}) {
    options.port = 0;
    auto server = Server::listen(std::move(options), handler_);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
    handler_.is_draining = [this] { return server_->is_draining(); };
    end_ = std::async(std::launch::async, [this] { return server_->run(); });
  }
  Server::End stop() {
    server_->stop();
    return end_.get();
  }
  void TearDown() override {
    if (end_.valid()) stop();
  }
  SocketClient connect() const { return SocketClient(server_->port()); }

  void wait_for(const std::atomic<int>& counter, int value) {
    for (int i = 0; i < 1000 && counter < value; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_EQ(counter, value);
  }

  ScriptedHandler handler_;
  std::unique_ptr<Server> server_;
  std::future<Server::End> end_;
};

}  // namespace tetrad::http
