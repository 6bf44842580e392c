// The server's end.

#include <gmock/gmock.h>

#include <csignal>

#include "http/server_fixture.h"

namespace tetrad::http {
namespace {

using std::chrono::milliseconds;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

TEST_F(HttpServer, DrainsOnStop) {
  start();
  const SocketClient busy = connect();
  busy.send(post("/hold", ""));
  wait_for(handler_.handled, 1);
  const SocketClient idle = connect();
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
  const SocketClient busy = connect();
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
    const SocketClient client = connect();
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

TEST_F(HttpServer, WhileItDrainsItTellsNewcomers) {
  start();
  EXPECT_FALSE(server_->is_draining());
  const SocketClient busy = connect();
  busy.send(post("/hold", ""));
  wait_for(handler_.handled, 1);
  server_->stop();
  const SocketClient newcomer = connect();
  newcomer.send(post("/echo", R"("more")"));
  const std::string refusal = newcomer.read();
  EXPECT_THAT(refusal, StartsWith("HTTP/1.1 503 Service Unavailable\r\n"));
  EXPECT_THAT(refusal, HasSubstr("\r\nConnection: close\r\n"));
  EXPECT_TRUE(server_->is_draining());
  const SocketClient probe = connect();
  probe.send("GET /echo HTTP/1.1\r\nHost: x\r\n\r\nGET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string answer = probe.read();  // one, and the end
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_EQ(answer.find("HTTP/1.1", 1), std::string::npos);
  handler_.release();
  EXPECT_THAT(busy.read(), EndsWith(R"("released")"));
  EXPECT_EQ(end_.get(), Server::End::drained);
}

TEST_F(HttpServer, ForAWhileItLeavesAndStillAnswers) {
  start({.drain_delay = milliseconds(300)});
  const SocketClient regular = connect();
  regular.send(post("/echo", "[before]"));
  regular.read("[before]");
  EXPECT_FALSE(server_->is_leaving());
  server_->stop();
  for (int i = 0; i < 1000 && !server_->is_leaving(); ++i)
    std::this_thread::sleep_for(milliseconds(1));
  EXPECT_TRUE(server_->is_leaving());
  EXPECT_FALSE(server_->is_draining());
  const SocketClient newcomer = connect();
  newcomer.send(post("/echo", "[newcomer]"));
  EXPECT_THAT(newcomer.read("[newcomer]"), StartsWith("HTTP/1.1 200 OK\r\n"));
  regular.send(post("/echo", "[regular]"));
  EXPECT_THAT(regular.read("[regular]"), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_EQ(end_.get(), Server::End::drained);
  EXPECT_EQ(regular.read(), "");  // closed
}

TEST_F(HttpServer, TheDelayEndsWithASecondSignal) {
  start({.drain_delay = milliseconds(3'600'000)});
  const SocketClient idle = connect();
  idle.send(post("/echo", "[idle]"));
  idle.read("[idle]");
  ASSERT_EQ(::raise(SIGTERM), 0);
  for (int i = 0; i < 1000 && !server_->is_leaving(); ++i)
    std::this_thread::sleep_for(milliseconds(1));
  ASSERT_TRUE(server_->is_leaving());
  ASSERT_EQ(::raise(SIGTERM), 0);
  EXPECT_EQ(end_.get(), Server::End::interrupted);
}

TEST_F(HttpServer, NewcomersThatAskNothingDoNotKeepIt) {
  start();
  const SocketClient busy = connect();
  busy.send(post("/hold", ""));
  wait_for(handler_.handled, 1);
  server_->stop();
  const SocketClient silent = connect();
  const SocketClient half = connect();
  half.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-");
  std::this_thread::sleep_for(milliseconds(50));
  handler_.release();
  EXPECT_THAT(busy.read(), EndsWith(R"("released")"));
  EXPECT_EQ(silent.read(), "");
  EXPECT_EQ(end_.wait_for(milliseconds(10'000)), std::future_status::ready);
  EXPECT_EQ(end_.get(), Server::End::drained);
}

TEST_F(HttpServer, EndsAtOnceWhenNothingRuns) {
  start();
  const SocketClient idle = connect();
  idle.send(post("/echo", "[idle]"));
  idle.read("[idle]");
  EXPECT_EQ(stop(), Server::End::drained);
  EXPECT_EQ(idle.read(), "");
}

}  // namespace
}  // namespace tetrad::http
