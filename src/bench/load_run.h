#pragma once

// Sends a workload to a server at the pace that was asked for, and collects what was measured.

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "bench/answer_stream.h"
#include "bench/arrivals.h"
#include "bench/workload.h"
#include "http/client.h"

namespace tetrad::bench {

struct LoadOptions {
  /// Sessions that arrive each second, as a Poisson process; infinite: all at once.
  double request_rate = std::numeric_limits<double>::infinity();
  /// Sessions under way; those that arrive beyond wait. Nothing: no limit.
  std::optional<int64_t> max_concurrency;
  /// At least one of these is set. After `duration` no request is begun; those under way finish.
  std::optional<uint64_t> num_sessions;
  std::optional<Seconds> duration;
  /// Share of the requests, 0 to 1, whose connection is closed at a random moment: before the
  /// answer begins, or within it. Ends the session.
  double disconnect_fraction = 0;
  uint64_t seed = 0;
  std::string bearer_token;
  bool keep_texts = false;  // in RunResult::texts
};

struct Progress {
  int64_t completed = 0;
  int64_t failed = 0;
  int64_t disconnected = 0;
  int64_t running = 0;
  int64_t output_events = 0;  // a token each, or some
  Seconds elapsed{0};

  int64_t ended() const { return completed + failed + disconnected; }
};

struct RunResult {
  std::vector<RequestRecord> records;  // in the order of their ends
  std::vector<std::string> texts;      // reasoning and content of each record, if kept
  Seconds start{0};                    // on the clock
  Seconds duration{0};                 // to the last end
  int64_t peak_concurrency = 0;
  int64_t num_unfinished = 0;     // under way at an interruption
  int64_t num_skipped_turns = 0;  // of sessions that ended early
  bool was_interrupted = false;
};

class LoadRun {
 public:
  /// All must outlive it. on_tick is called some times a second; false interrupts the run.
  LoadRun(http::Client& client, const Clock& clock, const Workload& workload, LoadOptions options,
          std::function<bool(const Progress&)> on_tick);

  RunResult run();

 private:
  struct ActiveSession {
    uint64_t index = 0;
    std::unique_ptr<Session> session;
    int64_t turn = 0;  // the number of the request under way, from 1
    std::shared_ptr<AnswerStream> stream;
    http::ExchangeId exchange = 0;
    /// Output events after which to close the connection, and how long after.
    std::optional<int64_t> disconnect_after;
    Seconds disconnect_delay{0};
  };

  void admit();
  bool may_begin_session() const;
  bool is_over_time() const;
  void begin_request(ActiveSession& session, const Answer* previous);
  void plan_disconnect(ActiveSession& session, int64_t max_tokens);
  void on_output(const ActiveSession& session);
  void disconnect_soon(const ActiveSession& session);
  void on_request_end(ActiveSession& session);
  void end_session(const ActiveSession& session);
  void tick();

  http::Client& client_;
  const Clock& clock_;
  const Workload& workload_;
  const LoadOptions options_;
  std::function<bool(const Progress&)> on_tick_;

  Arrivals arrivals_;
  Random disconnects_;
  Progress progress_;
  RunResult result_;
  std::unordered_map<uint64_t, ActiveSession> active_;  // by index; references stay valid
  uint64_t num_begun_ = 0;                              // sessions
  bool is_waiting_for_arrival_ = false;
};

}  // namespace tetrad::bench
