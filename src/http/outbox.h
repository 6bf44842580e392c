#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace tetrad::http {

/// The bytes of one response on their way from whoever produces them, on any thread, to the
/// connection that writes them. Producers never wait: they are asked to pause while a stream's
/// client lags, and a client that lets the backlog grow past its limit all the same is given up.
class Outbox {
 public:
  /// Of bytes that no connection has written yet.
  struct Limits {
    size_t pause_bytes = 0;  // more of a stream: its producer is asked to pause
    size_t max_bytes = 0;    // more of a stream: the client is given up
  };
  /// `wake` tells the connection that there is news; it is called with the lock held and must only
  /// hand over.
  Outbox(Limits limits, std::function<void()> wake);

  // For producers.

  enum class Bounded { yes, no };
  /// With Bounded::yes, counts against the limit.
  void push(std::string_view bytes, Bounded bounded);
  /// Nothing follows. `intact`: the client has got a complete response.
  void finish(bool intact);
  /// See api::ResponseWriter.
  void on_disconnect(std::function<void()> callback);
  void on_backlog(std::function<void(bool paused)> callback);

  // For the connection.

  enum class State { open, finished, broken };
  struct Batch {
    std::string bytes;
    State state = State::open;  // after these bytes
  };
  /// Everything pushed since the last call, empty if nothing was. What the last call returned has
  /// been written by now.
  Batch take();
  /// Since when the producer has been asked to pause; nothing while it is not.
  std::optional<std::chrono::steady_clock::time_point> paused_since() const;
  /// Makes the producer stop, but lets what it still says through.
  void cancel();
  /// The connection is done with this response: nobody will take from here on. If the response is
  /// not complete, the producer is told.
  void close();

 private:
  void run_disconnect_callback();
  void set_paused(bool paused);

  const Limits limits_;
  std::function<void()> wake_;
  mutable std::mutex mutex_;
  std::string backlog_;
  size_t num_writing_ = 0;  // taken and not written yet, as far as one knows
  std::optional<std::chrono::steady_clock::time_point> paused_since_;
  State state_ = State::open;
  bool closed_ = false;
  bool cancelled_ = false;
  std::function<void()> disconnect_callback_;
  std::function<void(bool paused)> backlog_callback_;
};

}  // namespace tetrad::http
