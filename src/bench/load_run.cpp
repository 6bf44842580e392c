#include "bench/load_run.h"

#include <algorithm>
#include <utility>

namespace tetrad::bench {
namespace {

constexpr Seconds kTick{0.1};
/// What is due within it is due: a timer may come early by as much as its time is rounded.
constexpr Seconds kTimerStep{1e-6};
/// A closed loop must not turn into a storm of connections when the server is gone.
constexpr Seconds kPauseAfterFailure{0.1};
constexpr double kMaxDisconnectDelay = 0.05;  // seconds
constexpr uint64_t kDisconnectStream = 0x646973;

}  // namespace

LoadRun::LoadRun(http::Client& client, const Clock& clock, const Workload& workload,
                 LoadOptions options, std::function<bool(const Progress&)> on_tick)
    : client_(client),
      clock_(clock),
      workload_(workload),
      options_(std::move(options)),
      on_tick_(std::move(on_tick)),
      arrivals_(options_.request_rate, options_.seed),
      disconnects_(options_.seed, kDisconnectStream) {}

RunResult LoadRun::run() {
  result_.start = clock_.now();
  // From within the loop, as everything after it.
  client_.call_after(Seconds(0), [this] { admit(); });
  client_.call_after(kTick, [this] { tick(); });
  client_.run();
  result_.num_unfinished = progress_.running;
  return std::move(result_);
}

bool LoadRun::is_over_time() const {
  return options_.duration && clock_.now() - result_.start >= *options_.duration;
}

bool LoadRun::may_begin_session() const {
  return (!options_.num_sessions || num_begun_ < *options_.num_sessions) && !is_over_time();
}

/// Begins the sessions that have arrived and for which there is room.
void LoadRun::admit() {
  while (may_begin_session()) {
    if (options_.max_concurrency &&
        std::cmp_greater_equal(active_.size(), *options_.max_concurrency))
      return;
    const Seconds elapsed = clock_.now() - result_.start;
    Seconds wait = arrivals_.next() - elapsed;
    if (wait > kTimerStep) {
      if (options_.duration) wait = std::min(wait, *options_.duration - elapsed);
      if (std::exchange(is_waiting_for_arrival_, true)) return;
      client_.call_after(wait, [this] {
        is_waiting_for_arrival_ = false;
        admit();
      });
      return;
    }
    arrivals_.advance();
    const uint64_t index = num_begun_++;
    ActiveSession& session = active_[index];
    session.index = index;
    session.session = workload_.session(index);
    begin_request(session, nullptr);
  }
  if (active_.empty()) client_.stop();
}

void LoadRun::begin_request(ActiveSession& session, const Answer* previous) {
  std::optional<ApiRequest> request = session.session->next(previous);
  if (!request) {
    end_session(session);
    return;
  }
  ++session.turn;
  plan_disconnect(session, request->max_tokens);
  ++progress_.running;
  result_.peak_concurrency = std::max(result_.peak_concurrency, progress_.running);
  http::ClientRequest message{.method = "POST",
                              .target = std::move(request->target),
                              .content_type = "application/json",
                              .bearer_token = options_.bearer_token,
                              .body = to_json_text(request->body)};
  session.stream = std::make_shared<AnswerStream>(
      clock_, AnswerStream::Callbacks{.on_output = [this, &session] { on_output(session); },
                                      .on_end = [this, &session] { on_request_end(session); }});
  session.exchange = client_.send(std::move(message), session.stream);
  if (session.disconnect_after == 0) disconnect_soon(session);
}

void LoadRun::plan_disconnect(ActiveSession& session, int64_t max_tokens) {
  session.disconnect_after.reset();
  if (disconnects_.unit() >= options_.disconnect_fraction) return;
  session.disconnect_after = disconnects_.between(0, max_tokens - 1);
  session.disconnect_delay = Seconds(disconnects_.unit() * kMaxDisconnectDelay);
}

void LoadRun::on_output(const ActiveSession& session) {
  ++progress_.output_events;
  if (session.disconnect_after == session.stream->num_output_events()) disconnect_soon(session);
}

void LoadRun::disconnect_soon(const ActiveSession& session) {
  // By then the session may be at its next request, or gone.
  const std::weak_ptr<AnswerStream> weak = session.stream;
  client_.call_after(session.disconnect_delay, [this, weak, exchange = session.exchange] {
    if (const auto stream = weak.lock()) stream->expect_disconnect();
    client_.cancel(exchange);
  });
}

void LoadRun::on_request_end(ActiveSession& session) {
  // Kept beyond a next request's beginning, for its answer.
  const std::shared_ptr<AnswerStream> stream = session.stream;
  --progress_.running;
  result_.records.push_back(stream->record());
  if (options_.keep_texts) {
    result_.texts.push_back(stream->answer().reasoning + stream->answer().content);
  }
  result_.duration = clock_.now() - result_.start;
  switch (stream->record().outcome) {
    case Outcome::completed:
      ++progress_.completed;
      if (is_over_time()) {
        end_session(session);
      } else {
        begin_request(session, &stream->answer());
      }
      break;
    case Outcome::disconnected:
      ++progress_.disconnected;
      result_.num_skipped_turns += workload_.turns_per_session() - session.turn;
      end_session(session);
      break;
    case Outcome::failed:
      ++progress_.failed;
      result_.num_skipped_turns += workload_.turns_per_session() - session.turn;
      client_.call_after(kPauseAfterFailure, [this, &session] { end_session(session); });
      break;
  }
}

void LoadRun::end_session(const ActiveSession& session) {
  const uint64_t index = session.index;
  active_.erase(index);
  admit();
}

void LoadRun::tick() {
  progress_.elapsed = clock_.now() - result_.start;
  if (on_tick_(progress_)) {
    client_.call_after(kTick, [this] { tick(); });
    return;
  }
  result_.was_interrupted = true;
  result_.duration = progress_.elapsed;
  client_.stop();
}

}  // namespace tetrad::bench
