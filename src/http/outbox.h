#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace tetrad::http {

/// The bytes of one response on their way from whoever produces them, on any thread, to the
/// connection that writes them. Producers never wait: a client that lets the backlog of a stream
/// grow past its limit is given up.
class Outbox {
 public:
  /// `wake` tells the connection that there is news; it is called with the lock held and must only
  /// hand over.
  Outbox(size_t max_backlog_bytes, std::function<void()> wake);

  // For producers.

  enum class Bounded { yes, no };
  /// With Bounded::yes, counts against the limit.
  void push(std::string_view bytes, Bounded bounded);
  /// Nothing follows. `intact`: the client has got a complete response.
  void finish(bool intact);
  /// See api::ResponseWriter::on_disconnect.
  void on_disconnect(std::function<void()> callback);

  // For the connection.

  enum class State { open, finished, broken };
  struct Batch {
    std::string bytes;
    State state = State::open;  // after these bytes
  };
  /// Everything pushed since the last call, empty if nothing was.
  Batch take();
  /// Makes the producer stop, but lets what it still says through.
  void cancel();
  /// The connection is done with this response: nobody will take from here on. If the response is
  /// not complete, the producer is told.
  void close();

 private:
  void run_disconnect_callback();

  const size_t max_backlog_bytes_;
  std::function<void()> wake_;
  std::mutex mutex_;
  std::string backlog_;
  State state_ = State::open;
  bool closed_ = false;
  bool cancelled_ = false;
  std::function<void()> disconnect_callback_;
};

}  // namespace tetrad::http
