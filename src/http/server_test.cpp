#include "http/server.h"

#include <gmock/gmock.h>

#include "http/server_fixture.h"

namespace tetrad::http {
namespace {

using std::chrono::milliseconds;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

TEST_F(HttpServer, KeepsTheConnectionForRequestAfterRequest) {
  start();
  const SocketClient client = connect();
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
  const SocketClient client = connect();
  client.send(post("/echo", "1") + post("/echo", "2", "Connection: close\r\n"));
  const std::string responses = client.read();
  const size_t second = responses.find("HTTP/1.1", 1);
  ASSERT_NE(second, std::string::npos);
  EXPECT_EQ(responses[second - 1], '1');
  EXPECT_EQ(responses.back(), '2');
}

TEST_F(HttpServer, ReadsChunkedBodiesAndBodiesInPieces) {
  start();
  const SocketClient client = connect();
  client.send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n");
  client.send("\r\n3\r\nabc\r\n");
  std::this_thread::sleep_for(milliseconds(20));
  client.send("2\r\nde\r\n0\r\n\r\n");
  EXPECT_THAT(client.read(), EndsWith("\r\n\r\nabcde"));
}

TEST_F(HttpServer, StreamsEventsAsChunks) {
  start();
  const SocketClient client = connect();
  client.send(post("/stream", ""));
  const std::string response = client.read("0\r\n\r\n");
  EXPECT_THAT(response, HasSubstr("\r\nContent-Type: text/event-stream\r\n"));
  EXPECT_THAT(response, EndsWith("\r\n\r\nb\r\ndata: one\n\n\r\nb\r\ndata: two\n\n\r\n0\r\n\r\n"));
  client.send(post("/echo", "next"));  // the connection goes on
  EXPECT_THAT(client.read("next"), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServer, StreamsToHttp10WithoutChunks) {
  start();
  const SocketClient client = connect();
  client.send("POST /stream HTTP/1.0\r\n\r\n");
  const std::string response = client.read();
  EXPECT_THAT(response, HasSubstr("\r\nConnection: close\r\n"));
  EXPECT_THAT(response, EndsWith("\r\n\r\ndata: one\n\ndata: two\n\n"));
}

TEST_F(HttpServer, RefusesByTheHeadBeforeTheBodyComes) {
  start();
  const SocketClient client = connect();
  client.send("POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
  const std::string response = client.read();
  EXPECT_THAT(response, StartsWith("HTTP/1.1 401 Unauthorized\r\n"));
  EXPECT_THAT(response, HasSubstr("\r\nConnection: close\r\n"));
  EXPECT_EQ(handler_.handled, 0);
}

TEST_F(HttpServer, LimitsTheBodyDeclaredOrNot) {
  start({.max_body_bytes = 1000});
  const SocketClient declared = connect();
  declared.send(post("/echo", std::string(1001, 'x')));
  EXPECT_THAT(declared.read(), StartsWith("HTTP/1.1 413 "));

  const SocketClient chunked = connect();
  chunked.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 11; ++i)
    chunked.send("64\r\n" + std::string(100, 'x') + "\r\n");
  EXPECT_THAT(chunked.read(), StartsWith("HTTP/1.1 413 "));

  const SocketClient largest = connect();
  largest.send(post("/echo", std::string(1000, 'x'), "Connection: close\r\n"));
  EXPECT_THAT(largest.read(), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(handler_.handled, 1);
}

TEST_F(HttpServer, TheClientOfATooLargeBodyReadsWhy) {
  start({.max_body_bytes = 1000});
  const SocketClient client = connect();
  client.send(post("/echo", std::string(20 << 20, 'x')));  // far more than the sockets buffer
  EXPECT_THAT(client.read(), HasSubstr("larger than the limit of 1000 bytes"));
}

TEST_F(HttpServer, LimitsTheHeaders) {
  start();
  const SocketClient client = connect();
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
    const SocketClient client = connect();
    client.send(bytes);
    const std::string response = client.read();
    EXPECT_THAT(response, StartsWith("HTTP/1.1 400 Bad Request\r\n")) << bytes;
    EXPECT_THAT(response, HasSubstr(R"("code":"malformed_http")"));
  }
  EXPECT_EQ(handler_.handled, 0);
}

TEST_F(HttpServer, InvitesABodyThatWaitsForIt) {
  start();
  const SocketClient client = connect();
  client.send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("ok");
  EXPECT_THAT(client.read("ok"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(HttpServer, HeadGetsTheHeadersAlone) {
  start();
  const SocketClient client = connect();
  client.send(
      "HEAD /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody");
  const std::string response = client.read();
  EXPECT_THAT(response, HasSubstr("\r\nContent-Length: 4\r\n"));
  EXPECT_THAT(response, EndsWith("\r\n\r\n"));
}

TEST_F(HttpServer, AHandlerThatFailsOrForgetsIsA500) {
  start();
  for (const char* target : {"/throw", "/drop"}) {
    const SocketClient client = connect();
    client.send(post(target, "", "Connection: close\r\n"));
    EXPECT_THAT(client.read(), StartsWith("HTTP/1.1 500 ")) << target;
  }
}

TEST_F(HttpServer, TellsTheHandlerThatTheClientIsGone) {
  start();
  {
    const SocketClient client = connect();
    client.send(post("/hold", ""));
    wait_for(handler_.handled, 1);
    EXPECT_EQ(handler_.disconnects, 0);
  }
  wait_for(handler_.disconnects, 1);
}

TEST_F(HttpServer, SeesADisconnectBehindUnreadBytes) {
  start();
  {
    const SocketClient client = connect();
    client.send(post("/hold", "") + "GET /next HTTP/1.1\r\n");
    wait_for(handler_.handled, 1);
  }
  wait_for(handler_.disconnects, 1);
}

TEST_F(HttpServer, EveryAnswerCarriesCorsHeaders) {
  const auto cors = api::Cors::from({.origins = {"https://chat.example"}});
  ASSERT_TRUE(cors);
  start({.cors = *cors, .max_body_bytes = 1000});
  const std::string origin = "Origin: https://chat.example\r\nConnection: close\r\n";
  for (const std::string& request :
       {post("/echo", "x", origin), post("/stream", "", origin), post("/refused", "x", origin),
        post("/throw", "", origin), post("/echo", std::string(1001, 'x'), origin)}) {
    const SocketClient client = connect();
    client.send(request);
    EXPECT_THAT(client.read(),
                HasSubstr("\r\nAccess-Control-Allow-Origin: https://chat.example\r\n"))
        << request.substr(0, 30);
  }
  const SocketClient foreign = connect();
  foreign.send(post("/echo", "x", "Origin: https://evil.example\r\nConnection: close\r\n"));
  EXPECT_THAT(foreign.read(), testing::Not(HasSubstr("Access-Control")));
}

TEST_F(HttpServer, AnswersAPreflightWithoutAKey) {
  const auto cors = api::Cors::from({.origins = {"https://chat.example"}});
  ASSERT_TRUE(cors);
  start({.cors = *cors});
  const SocketClient client = connect();
  client.send(
      "OPTIONS /refused HTTP/1.1\r\nHost: x\r\nOrigin: https://chat.example\r\n"
      "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n"
      "\r\n");
  const std::string answer = client.read("\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 204 No Content\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nAccess-Control-Allow-Headers: authorization\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nAccess-Control-Allow-Origin: https://chat.example\r\n"));
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
