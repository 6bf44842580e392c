#include "http/server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

// A handler that does as the path says, and clients that write bytes: so that a client may do what
// no well-behaved library does.

namespace tetrad::http {
namespace {

using std::chrono::milliseconds;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

class ScriptedHandler final : public api::RequestHandler {
 public:
  std::atomic<int> disconnects{0};
  std::atomic<int> handled{0};

  std::optional<api::JsonResponse> refuse(const api::RequestHead& head) const override {
    if (head.target == "/refused") return api::JsonResponse{.status = 401, .body = R"("no")"};
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
    } else if (target == "/flood") {
      writer->on_disconnect([this] { ++disconnects; });
      writer->start_events({});
      for (int i = 0; i < 40'000; ++i)
        writer->send_event(std::string(1000, 'x'));
      // A writer that is gone hears of nothing.
      const std::scoped_lock lock(mutex_);
      held_.push_back(std::move(writer));
    } else if (target == "/hold") {
      writer->on_disconnect([this] { ++disconnects; });
      const std::scoped_lock lock(mutex_);
      held_.push_back(std::move(writer));
    }
  }

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

class Client {
 public:
  explicit Client(uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
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
  ~Client() { ::close(socket_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

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

 private:
  int socket_;
};

std::string post(std::string_view target, std::string_view body, std::string_view headers = "") {
  return fmt::format("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{}\r\n{}", target,
                     body.size(), headers, body);
}

class HttpServer : public testing::Test {
 protected:
  void start(ServerOptions options = {}) {
    options.port = 0;
    auto server = Server::listen(options, handler_);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
    end_ = std::async(std::launch::async, [this] { return server_->run(); });
  }
  Server::End stop() {
    server_->stop();
    return end_.get();
  }
  void TearDown() override {
    if (end_.valid()) stop();
  }
  Client connect() const { return Client(server_->port()); }

  void wait_for(const std::atomic<int>& counter, int value) {
    for (int i = 0; i < 1000 && counter < value; ++i)
      std::this_thread::sleep_for(milliseconds(10));
    EXPECT_EQ(counter, value);
  }

  ScriptedHandler handler_;
  std::unique_ptr<Server> server_;
  std::future<Server::End> end_;
};

TEST_F(HttpServer, KeepsTheConnectionForRequestAfterRequest) {
  start();
  const Client client = connect();
  for (int i = 0; i < 3; ++i) {
    client.send(post("/echo", R"("body")"));
    const std::string response = client.read(R"("body")");
    EXPECT_THAT(response, StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_THAT(response, HasSubstr("\r\nConnection: keep-alive\r\n"));
    EXPECT_THAT(response, HasSubstr("\r\nContent-Length: 6\r\n"));
  }
}

TEST_F(HttpServer, AnswersPipelinedRequestsInOrder) {
  start();
  const Client client = connect();
  client.send(post("/echo", "1") + post("/echo", "2", "Connection: close\r\n"));
  const std::string responses = client.read();
  const size_t second = responses.find("HTTP/1.1", 1);
  ASSERT_NE(second, std::string::npos);
  EXPECT_EQ(responses[second - 1], '1');
  EXPECT_EQ(responses.back(), '2');
}

TEST_F(HttpServer, ReadsChunkedBodiesAndBodiesInPieces) {
  start();
  const Client client = connect();
  client.send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n");
  client.send("\r\n3\r\nabc\r\n");
  std::this_thread::sleep_for(milliseconds(20));
  client.send("2\r\nde\r\n0\r\n\r\n");
  EXPECT_THAT(client.read(), EndsWith("\r\n\r\nabcde"));
}

TEST_F(HttpServer, StreamsEventsAsChunks) {
  start();
  const Client client = connect();
  client.send(post("/stream", ""));
  const std::string response = client.read("0\r\n\r\n");
  EXPECT_THAT(response, HasSubstr("\r\nContent-Type: text/event-stream\r\n"));
  EXPECT_THAT(response, EndsWith("\r\n\r\nb\r\ndata: one\n\n\r\nb\r\ndata: two\n\n\r\n0\r\n\r\n"));
  client.send(post("/echo", "next"));  // the connection goes on
  EXPECT_THAT(client.read("next"), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServer, StreamsToHttp10WithoutChunks) {
  start();
  const Client client = connect();
  client.send("POST /stream HTTP/1.0\r\n\r\n");
  const std::string response = client.read();
  EXPECT_THAT(response, HasSubstr("\r\nConnection: close\r\n"));
  EXPECT_THAT(response, EndsWith("\r\n\r\ndata: one\n\ndata: two\n\n"));
}

TEST_F(HttpServer, RefusesByTheHeadBeforeTheBodyComes) {
  start();
  const Client client = connect();
  client.send("POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
  const std::string response = client.read();
  EXPECT_THAT(response, StartsWith("HTTP/1.1 401 Unauthorized\r\n"));
  EXPECT_THAT(response, HasSubstr("\r\nConnection: close\r\n"));
  EXPECT_EQ(handler_.handled, 0);
}

TEST_F(HttpServer, LimitsTheBodyDeclaredOrNot) {
  start({.max_body_bytes = 1000});
  const Client declared = connect();
  declared.send(post("/echo", std::string(1001, 'x')));
  EXPECT_THAT(declared.read(), StartsWith("HTTP/1.1 413 "));

  const Client chunked = connect();
  chunked.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 11; ++i)
    chunked.send("64\r\n" + std::string(100, 'x') + "\r\n");
  EXPECT_THAT(chunked.read(), StartsWith("HTTP/1.1 413 "));

  const Client largest = connect();
  largest.send(post("/echo", std::string(1000, 'x'), "Connection: close\r\n"));
  EXPECT_THAT(largest.read(), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(handler_.handled, 1);
}

TEST_F(HttpServer, TheClientOfATooLargeBodyReadsWhy) {
  start({.max_body_bytes = 1000});
  const Client client = connect();
  client.send(post("/echo", std::string(20 << 20, 'x')));  // far more than the sockets buffer
  EXPECT_THAT(client.read(), HasSubstr("larger than the limit of 1000 bytes"));
}

TEST_F(HttpServer, LimitsTheHeaders) {
  start();
  const Client client = connect();
  client.send("GET /echo HTTP/1.1\r\nHost: x\r\nX-Long: " + std::string(70'000, 'x') + "\r\n\r\n");
  EXPECT_THAT(client.read(), StartsWith("HTTP/1.1 431 "));
}

TEST_F(HttpServer, AnswersWhatIsNotHttp) {
  start();
  for (const std::string_view bytes :
       {"\x16\x03\x01\x02 a TLS hello\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/3.7\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"}) {
    const Client client = connect();
    client.send(bytes);
    const std::string response = client.read();
    EXPECT_THAT(response, StartsWith("HTTP/1.1 400 Bad Request\r\n")) << bytes;
    EXPECT_THAT(response, HasSubstr(R"("code":"malformed_http")"));
  }
  EXPECT_EQ(handler_.handled, 0);
}

TEST_F(HttpServer, InvitesABodyThatWaitsForIt) {
  start();
  const Client client = connect();
  client.send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("ok");
  EXPECT_THAT(client.read("ok"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(HttpServer, HeadGetsTheHeadersAlone) {
  start();
  const Client client = connect();
  client.send(
      "HEAD /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody");
  const std::string response = client.read();
  EXPECT_THAT(response, HasSubstr("\r\nContent-Length: 4\r\n"));
  EXPECT_THAT(response, EndsWith("\r\n\r\n"));
}

TEST_F(HttpServer, AHandlerThatFailsOrForgetsIsA500) {
  start();
  for (const char* target : {"/throw", "/drop"}) {
    const Client client = connect();
    client.send(post(target, "", "Connection: close\r\n"));
    EXPECT_THAT(client.read(), StartsWith("HTTP/1.1 500 ")) << target;
  }
}

TEST_F(HttpServer, TellsTheHandlerThatTheClientIsGone) {
  start();
  {
    const Client client = connect();
    client.send(post("/hold", ""));
    wait_for(handler_.handled, 1);
    EXPECT_EQ(handler_.disconnects, 0);
  }
  wait_for(handler_.disconnects, 1);
}

TEST_F(HttpServer, SeesADisconnectBehindUnreadBytes) {
  start();
  {
    const Client client = connect();
    client.send(post("/hold", "") + "GET /next HTTP/1.1\r\n");
    wait_for(handler_.handled, 1);
  }
  wait_for(handler_.disconnects, 1);
}

TEST_F(HttpServer, DropsAClientThatDoesNotRead) {
  start({.max_backlog_bytes = 100'000});
  const Client slow = connect();
  slow.send(post("/flood", ""));
  wait_for(handler_.disconnects, 1);
  const Client other = connect();  // nobody else notices
  other.send(post("/echo", "fine"));
  EXPECT_THAT(other.read("fine"), StartsWith("HTTP/1.1 200"));
  EXPECT_LT(slow.read().size(), 30'000'000u);  // it was cut off
}

TEST_F(HttpServer, DropsAClientThatTakesTooLong) {
  start({.header_timeout = milliseconds(50),
         .body_timeout = milliseconds(50),
         .idle_timeout = milliseconds(50)});
  const Client silent = connect();
  EXPECT_EQ(silent.read(), "");
  const Client half_a_head = connect();
  half_a_head.send("GET / HT");
  EXPECT_EQ(half_a_head.read(), "");
  const Client half_a_body = connect();
  half_a_body.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf");
  EXPECT_EQ(half_a_body.read(), "");
}

TEST_F(HttpServer, DropsAClientThatStopsReading) {
  start({.max_backlog_bytes = 1 << 30, .write_timeout = milliseconds(100)});
  const Client stalled = connect();
  stalled.send(post("/flood", ""));
  wait_for(handler_.disconnects, 1);
}

TEST_F(HttpServer, TurnsAwayTooManyConnections) {
  start({.max_connections = 1});
  const Client first = connect();
  first.send(post("/echo", "[first]"));
  first.read("[first]");
  const Client second = connect();
  EXPECT_THAT(second.read(), StartsWith("HTTP/1.1 503 "));
  first.send(post("/echo", "[again]"));
  EXPECT_THAT(first.read("[again]"), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServer, DrainsOnStop) {
  start();
  const Client busy = connect();
  busy.send(post("/hold", ""));
  wait_for(handler_.handled, 1);
  const Client idle = connect();
  idle.send(post("/echo", "[idle]"));
  idle.read("[idle]");
  server_->stop();
  EXPECT_EQ(idle.read(), "");  // closed
  handler_.release();
  EXPECT_THAT(busy.read(), EndsWith(R"("released")"));
  EXPECT_EQ(end_.get(), Server::End::drained);
}

TEST_F(HttpServer, CancelsWhatDoesNotEndInTime) {
  start({.shutdown_timeout = milliseconds(50)});
  const Client busy = connect();
  busy.send(post("/hold", ""));
  wait_for(handler_.handled, 1);
  server_->stop();
  wait_for(handler_.disconnects, 1);
  handler_.release();  // the last words
  EXPECT_THAT(busy.read(), EndsWith(R"("released")"));
  EXPECT_EQ(end_.get(), Server::End::timed_out);
}

TEST_F(HttpServer, AnswersAfterTheEndGoNowhere) {
  start();
  {
    const Client client = connect();
    client.send(post("/hold", ""));
    wait_for(handler_.handled, 1);
  }
  wait_for(handler_.disconnects, 1);
  EXPECT_EQ(stop(), Server::End::drained);
  server_.reset();
  handler_.release();
}

TEST_F(HttpServer, MayBeStoppedBeforeItRuns) {
  auto server = Server::listen({.port = 0}, handler_);
  ASSERT_TRUE(server);
  (*server)->stop();
  EXPECT_EQ((*server)->run(), Server::End::drained);
}

TEST_F(HttpServer, SaysWhatIsWrongWithThePort) {
  start();
  const auto second = Server::listen({.port = server_->port()}, handler_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().param, "--port");
  EXPECT_THAT(second.error().message, HasSubstr("in use by another program"));
}

TEST_F(HttpServer, RefusesToServeTheWorldUnasked) {
  for (const char* host : {"0.0.0.0", "::"}) {
    const auto server = Server::listen({.host = host, .port = 0}, handler_);
    ASSERT_FALSE(server) << host;
    EXPECT_EQ(server.error().param, "--host");
    EXPECT_THAT(server.error().message, HasSubstr("--api-key"));
  }
  const auto nonsense = Server::listen({.host = "no such host.invalid", .port = 0}, handler_);
  ASSERT_FALSE(nonsense);
  EXPECT_EQ(nonsense.error().param, "--host");
  EXPECT_TRUE(Server::listen({.host = "0.0.0.0", .port = 0, .loopback_only = false}, handler_));
}

}  // namespace
}  // namespace tetrad::http
