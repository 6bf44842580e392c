#include "http/client.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <thread>

// The client against servers that write bytes, so that a server may do what no good one does.

namespace tetrad::http {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

/// Accepts one connection, reads a request up to the end of its head, writes `response`, and waits
/// for the client's end if it is to stay open.
class ScriptedServer {
 public:
  enum class Then { close, stay };

  explicit ScriptedServer(std::string response, Then then = Then::close)
      : listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_, 1), 0);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, response = std::move(response), then] { serve(response, then); });
  }
  ~ScriptedServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  uint16_t port() const { return port_; }
  /// Once the client has ended.
  std::string request() {
    ::shutdown(listener_, SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
    thread_ = std::thread([] {});
    return request_;
  }

 private:
  void serve(const std::string& response, Then then) {
    const int socket = ::accept(listener_, nullptr, nullptr);
    if (socket < 0) return;
    char byte = 0;
    while (!request_.ends_with("\r\n\r\n") && ::recv(socket, &byte, 1, 0) == 1)
      request_ += byte;
    ::send(socket, response.data(), response.size(), MSG_NOSIGNAL);
    if (then == Then::close) ::shutdown(socket, SHUT_WR);
    while (::recv(socket, &byte, 1, 0) == 1)
      request_ += byte;
    ::close(socket);
  }

  int listener_;
  uint16_t port_ = 0;
  std::string request_;
  std::thread thread_;
};

struct Response : ResponseSink {
  int status = 0;
  std::string content_type;
  std::string body;
  std::optional<Result<void>> end;
  size_t wanted = SIZE_MAX;  // bytes

  void on_head(int code, std::string_view type) override {
    status = code;
    content_type = type;
  }
  bool on_body(std::string_view bytes) override {
    body += bytes;
    return body.size() < wanted;
  }
  void on_end(Result<void> result) override {
    EXPECT_FALSE(end) << "on_end came twice";
    end = std::move(result);
  }
  std::string error() const { return end && !*end ? end->error().message : "no error"; }
};

std::unique_ptr<Client> client_for(uint16_t port, ClientOptions options = {}) {
  auto client = make_client({.host = "127.0.0.1", .port = port, .path = "/base"}, options);
  EXPECT_TRUE(client);
  return std::move(*client);
}

std::shared_ptr<Response> fetch(ScriptedServer& server, const ClientRequest& request = {},
                                ClientOptions options = {}) {
  const auto response = std::make_shared<Response>();
  const auto client = client_for(server.port(), options);
  client->send(request, response);
  client->run();
  EXPECT_TRUE(response->end) << "on_end did not come";
  return response;
}

TEST(HttpClient, SendsARequestAndReadsTheResponse) {
  ScriptedServer server(
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
  const auto response = fetch(server, {.method = "POST",
                                       .target = "/v1/x?y=1",
                                       .content_type = "application/json",
                                       .bearer_token = "key",
                                       .body = "[1]"});
  EXPECT_TRUE(*response->end) << response->error();
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->content_type, "application/json");
  EXPECT_EQ(response->body, "{}");
  const std::string request = server.request();
  EXPECT_THAT(request, StartsWith("POST /base/v1/x?y=1 HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr(fmt::format("\r\nHost: 127.0.0.1:{}\r\n", server.port())));
  EXPECT_THAT(request, HasSubstr("\r\nAuthorization: Bearer key\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nContent-Length: 3\r\n"));
  EXPECT_THAT(request, EndsWith("\r\n\r\n[1]"));
}

TEST(HttpClient, TakesChunksApart) {
  ScriptedServer server(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n");
  const auto response = fetch(server);
  EXPECT_TRUE(*response->end) << response->error();
  EXPECT_EQ(response->body, "abcde");
}

TEST(HttpClient, ABodyMayEndWithTheConnection) {
  ScriptedServer server("HTTP/1.0 200 OK\r\n\r\nuntil the end");
  const auto response = fetch(server);
  EXPECT_TRUE(*response->end) << response->error();
  EXPECT_EQ(response->body, "until the end");
}

TEST(HttpClient, PassesOnWhatComesBeforeTheEnd) {
  ScriptedServer server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
                        ScriptedServer::Then::stay);
  const auto response = std::make_shared<Response>();
  response->wanted = 3;
  const auto client = client_for(server.port());
  client->send({}, response);
  client->run();  // would hang if the chunk were held back
  EXPECT_EQ(response->body, "abc");
  ASSERT_TRUE(response->end && !*response->end);
  EXPECT_EQ(response->end->error().code, ErrorCode::cancelled);
}

TEST(HttpClient, SaysWhatIsWrongWithAResponse) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "closed the connection early"},
      {"HTTP/1.1 200 OK\r\nContent-", "closed the connection early"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "broke off"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", "broke off"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "bad HTTP/1.1"},
      {"SSH-2.0-OpenSSH_9.2\r\n\r\n", "bad HTTP/1.1"},
  };
  for (const auto& [bytes, message] : cases) {
    ScriptedServer server(bytes);
    EXPECT_THAT(fetch(server)->error(), HasSubstr(message)) << bytes;
  }
}

TEST(HttpClient, RefusesResponsesBeyondTheLimits) {
  ScriptedServer large_body("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + std::string(99, 'x'));
  EXPECT_THAT(fetch(large_body, {}, {.max_body_bytes = 50})->error(), HasSubstr("body limit"));
  ScriptedServer large_head("HTTP/1.1 200 OK\r\nX: " + std::string(9999, 'x') + "\r\n\r\n");
  EXPECT_THAT(fetch(large_head, {}, {.max_header_bytes = 1000})->error(),
              HasSubstr("header limit"));
}

TEST(HttpClient, ASilentServerIsGivenUp) {
  ScriptedServer silent("", ScriptedServer::Then::stay);
  const ClientOptions options{.silence_timeout = Seconds(0.05)};
  EXPECT_THAT(fetch(silent, {}, options)->error(), HasSubstr("did not answer in time"));
  ScriptedServer stalled("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
                         ScriptedServer::Then::stay);
  EXPECT_THAT(fetch(stalled, {}, options)->error(), HasSubstr("did not answer in time"));
}

TEST(HttpClient, ARefusedConnectionIsAnError) {
  uint16_t port = 0;
  {
    ScriptedServer gone("");
    port = gone.port();
  }
  const auto response = std::make_shared<Response>();
  const auto client = client_for(port);
  client->send({}, response);
  client->run();
  EXPECT_THAT(response->error(), HasSubstr("cannot connect: Connection refused"));
}

TEST(HttpClient, CancelClosesTheConnection) {
  ScriptedServer server("", ScriptedServer::Then::stay);
  const auto response = std::make_shared<Response>();
  const auto client = client_for(server.port());
  const ExchangeId id = client->send({}, response);
  client->call_after(Seconds(0.02), [&] { client->cancel(id); });
  client->run();
  ASSERT_TRUE(response->end && !*response->end);
  EXPECT_EQ(response->end->error().code, ErrorCode::cancelled);
  client->cancel(id);  // of one that has ended: nothing
  EXPECT_THAT(server.request(), StartsWith("GET /base/ HTTP/1.1"));
}

TEST(HttpClient, CancelBeforeTheBeginning) {
  ScriptedServer server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  const auto response = std::make_shared<Response>();
  const auto client = client_for(server.port());
  client->cancel(client->send({}, response));
  client->run();
  ASSERT_TRUE(response->end && !*response->end);
  EXPECT_EQ(response->end->error().code, ErrorCode::cancelled);
  EXPECT_EQ(response->status, 0);
}

TEST(HttpClient, StopAbandonsWhatIsUnderWay) {
  ScriptedServer server("", ScriptedServer::Then::stay);
  const auto response = std::make_shared<Response>();
  {
    const auto client = client_for(server.port());
    client->send({}, response);
    client->call_after(Seconds(0.02), [&] { client->stop(); });
    client->call_after(Seconds(600), [] { FAIL() << "after stop()"; });
    client->run();
  }
  EXPECT_FALSE(response->end);
}

TEST(HttpClient, TimersComeInTheirOrder) {
  const auto client = client_for(1);
  std::vector<int> order;
  client->call_after(Seconds(0.02), [&] { order.push_back(2); });
  client->call_after(Seconds(0), [&] {
    order.push_back(1);
    client->call_after(Seconds(0.04), [&] { order.push_back(3); });
  });
  client->run();
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
}

TEST(Url, IsTakenApart) {
  const auto url = parse_url("http://host.example:8000/a/b/");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->host, "host.example");
  EXPECT_EQ(url->port, 8000);
  EXPECT_EQ(url->path, "/a/b");
  const auto v6 = parse_url("http://[::1]:81");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->host, "::1");
  EXPECT_EQ(v6->authority(), "[::1]:81");
  EXPECT_EQ(parse_url("http://x")->port, 80);
  EXPECT_EQ(parse_url("http://x/")->path, "");
}

TEST(Url, RefusesWhatItDoesNotUnderstand) {
  for (const char* text :
       {"", "x", "https://x", "http://", "http://:80", "http://x:0", "http://x:65536",
        "http://x:8a", "http://x:", "http://[::1", "http://[::1]x", "http://u:p@x", "http://x/a b",
        "http://x?q", "http://x/\r\nY: z", "http://x#y"}) {
    const auto url = parse_url(text);
    ASSERT_FALSE(url) << text;
    EXPECT_EQ(url.error().code, ErrorCode::invalid_argument);
  }
}

}  // namespace
}  // namespace tetrad::http
