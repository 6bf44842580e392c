// Clients that are slow, too many, or not there any more.

#include <gmock/gmock.h>

#include "http/server_fixture.h"

namespace tetrad::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::HasSubstr;
using testing::StartsWith;

TEST_F(HttpServer, DropsAClientThatDoesNotRead) {
  start({.max_backlog_bytes = 100'000});
  const SocketClient slow = connect();
  slow.send(post("/flood", ""));
  wait_for(handler_.disconnects, 1);
  const SocketClient other = connect();  // nobody else notices
  other.send(post("/echo", "fine"));
  EXPECT_THAT(other.read("fine"), StartsWith("HTTP/1.1 200"));
  EXPECT_LT(slow.read().size(), 30'000'000u);  // it was cut off
}

TEST_F(HttpServer, DropsAClientThatTakesTooLong) {
  start({.header_timeout = milliseconds(50),
         .body_timeout = milliseconds(50),
         .idle_timeout = milliseconds(50)});
  const SocketClient silent = connect();
  EXPECT_EQ(silent.read(), "");
  const SocketClient half_a_head = connect();
  half_a_head.send("GET / HT");
  EXPECT_EQ(half_a_head.read(), "");
  const SocketClient half_a_body = connect();
  half_a_body.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf");
  EXPECT_EQ(half_a_body.read(), "");
}

TEST_F(HttpServer, DropsAClientThatStopsReading) {
  start({.max_backlog_bytes = 1 << 30, .write_timeout = milliseconds(100)});
  const SocketClient stalled = connect();
  stalled.send(post("/flood", ""));
  wait_for(handler_.disconnects, 1);
}

TEST_F(HttpServer, TurnsAwayTooManyConnections) {
  start({.max_connections = 1});
  const SocketClient first = connect();
  first.send(post("/echo", "[first]"));
  first.read("[first]");
  const SocketClient second = connect();
  const std::string refusal = second.read();
  EXPECT_THAT(refusal, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(refusal, HasSubstr("\r\nRetry-After: 1\r\n"));
  first.send(post("/echo", "[again]"));
  EXPECT_THAT(first.read("[again]"), StartsWith("HTTP/1.1 200"));
}

/// Sends one byte after the other, slowly, until the server ends the connection or `max_bytes`.
void drip(const SocketClient& client, std::string_view bytes, size_t max_bytes) {
  for (size_t i = 0; i < max_bytes && !client.is_closed(); ++i) {
    client.send(bytes.substr(i % bytes.size(), 1));
    std::this_thread::sleep_for(milliseconds(10));
  }
}

TEST_F(HttpServer, ProgressDoesNotExtendTheHeadersDeadline) {
  start({.header_timeout = milliseconds(200)});
  const SocketClient slow = connect();
  slow.send("GET /echo HTTP/1.1\r\nX-Long: ");
  drip(slow, "x", 500);  // five seconds' worth
  EXPECT_EQ(slow.read(), "");
  EXPECT_EQ(handler_.handled, 0);
}

TEST_F(HttpServer, ProgressDoesNotExtendTheBodysDeadline) {
  start({.body_timeout = milliseconds(200)});
  const SocketClient slow = connect();
  slow.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n");
  drip(slow, "x", 500);
  EXPECT_EQ(slow.read(), "");
  EXPECT_EQ(handler_.handled, 0);
}

/// Waits until the fountain has not run for a while; how much it has sent by then.
int wait_for_standstill(const ScriptedHandler& handler) {
  int before = -1;
  for (int i = 0; i < 50 && handler.events != before; ++i) {
    before = handler.events;
    std::this_thread::sleep_for(milliseconds(200));
  }
  return before;
}

TEST_F(HttpServer, PausesTheStreamOfASlowReader) {
  start({.pause_backlog_bytes = 20'000, .max_backlog_bytes = 60'000});
  const SocketClient slow = connect();
  slow.send(post("/fountain", ""));
  const int events = wait_for_standstill(handler_);
  EXPECT_EQ(handler_.events, events);
  EXPECT_EQ(handler_.pauses, handler_.resumes + 1);
  EXPECT_LT(events, 1000);                             // the system does not swallow megabytes
  slow.discard(static_cast<size_t>(events) * 1000);    // all there is
  slow.discard(static_cast<size_t>(events) * 10'000);  // the stream goes on
  EXPECT_GT(handler_.events, 5 * events);
  EXPECT_EQ(handler_.disconnects, 0);
}

TEST_F(HttpServer, GivesUpAPausedStreamThatTakesNothing) {
  start({.pause_backlog_bytes = 20'000, .write_timeout = milliseconds(200)});
  const SocketClient stalled = connect();
  stalled.send(post("/fountain", ""));
  wait_for(handler_.disconnects, 1);
  EXPECT_EQ(handler_.pauses, handler_.resumes + 1);
}

TEST_F(HttpServer, GivesUpAStreamThatStaysPausedThoughALittleIsTaken) {
  start({.pause_backlog_bytes = 2'000'000,
         .max_backlog_bytes = 4'000'000,
         .stall_timeout = milliseconds(300)});
  const SocketClient slow = connect();
  slow.send(post("/fountain", ""));
  const auto began = steady_clock::now();
  while (handler_.disconnects == 0 && steady_clock::now() - began < milliseconds(8'000)) {
    slow.discard(1000);
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_EQ(handler_.disconnects, 1);
  EXPECT_EQ(handler_.resumes, 0);
}

}  // namespace
}  // namespace tetrad::http
