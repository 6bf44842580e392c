#include "kv_events/zmq_publisher.h"

#include <cerrno>
#include <chrono>
#include <deque>
#include <thread>
#include <utility>
#include <vector>
#include <zmq.hpp>

#include "base/log.h"
#include "kv_events/event_batch.h"
#include "kv_events/event_collector.h"
#include "kv_events/event_queue.h"

namespace tetrad::kv_events {
namespace {

constexpr std::chrono::milliseconds kLinger{200};
/// A request for a replay is an empty frame and a number.
constexpr int64_t kMaxRequestFrameBytes = 256;
constexpr size_t kRequestFrames = 3;  // with the client's identity
constexpr uint64_t kEndOfReplay = ~uint64_t{0};

tl::unexpected<Error> endpoint_error(std::string_view field, std::string_view endpoint,
                                     const zmq::error_t& error) {
  return fail_param("--kv-events-config", "--kv-events-config: \"{}\" {}: {}", field, endpoint,
                    error.what());
}

zmq::message_t message(std::string_view bytes) {
  return {bytes.data(), bytes.size()};
}

std::string_view text_of(const zmq::message_t& frame) {
  return {frame.data<char>(), frame.size()};
}

/// The sockets; from the start of the publisher's thread its own.
class Sockets {
 public:
  explicit Sockets(const KvEventsConfig& config)
      : topic_(config.topic), buffer_steps_(static_cast<size_t>(config.buffer_steps)) {
    const auto linger = static_cast<int>(kLinger.count());
    publisher_.set(zmq::sockopt::sndhwm, static_cast<int>(config.hwm));
    publisher_.set(zmq::sockopt::linger, linger);
    publisher_.set(zmq::sockopt::sndtimeo, 0);
    publisher_.set(zmq::sockopt::xpub_nodrop, true);  // or a loss would be silent
    replay_.set(zmq::sockopt::linger, linger);
    replay_.set(zmq::sockopt::sndtimeo, 0);
    replay_.set(zmq::sockopt::maxmsgsize, kMaxRequestFrameBytes);
    // Whoever asks gets all there is to get, and what he does not take beyond it is dropped.
    replay_.set(zmq::sockopt::sndhwm, static_cast<int>(config.buffer_steps) + 1);
  }

  Result<void> open(const KvEventsConfig& config) {
    try {
      if (config.bind) {
        publisher_.bind(config.endpoint);
      } else {
        publisher_.connect(config.endpoint);
      }
    } catch (const zmq::error_t& error) {
      return endpoint_error("endpoint", config.endpoint, error);
    }
    if (config.replay_endpoint.empty()) return {};
    try {
      replay_.bind(config.replay_endpoint);
      has_replay_ = true;
    } catch (const zmq::error_t& error) {
      return endpoint_error("replay_endpoint", config.replay_endpoint, error);
    }
    return {};
  }

  std::string endpoint() const { return publisher_.get(zmq::sockopt::last_endpoint); }
  std::string replay_endpoint() const {
    return has_replay_ ? replay_.get(zmq::sockopt::last_endpoint) : "";
  }

  /// Waits until `news` is readable or somebody wants a replay: then true.
  bool wait(int news) {
    std::vector<zmq::pollitem_t> items = {{nullptr, news, ZMQ_POLLIN, 0}};
    if (has_replay_) items.push_back({replay_.handle(), 0, ZMQ_POLLIN, 0});
    zmq::poll(items, std::chrono::milliseconds(-1));
    return has_replay_ && (items[1].revents & ZMQ_POLLIN) != 0;
  }

  /// False if some subscriber did not get it.
  bool publish(const KvEventBatch& batch) {
    Sent sent{.sequence = batch.sequence, .payload = message(encode(batch))};
    bool reached_all = send(sent);
    if (!reached_all) {
      publisher_.set(zmq::sockopt::xpub_nodrop, false);
      send(sent);  // to those who have room
      publisher_.set(zmq::sockopt::xpub_nodrop, true);
    }
    sent_.push_back(std::move(sent));
    if (sent_.size() > buffer_steps_) sent_.pop_front();
    return reached_all;
  }

  /// Sends all that is kept from a number on, then -1.
  void answer_replay() {
    const std::vector<zmq::message_t> frames = receive_request();
    const auto first =
        frames.size() == kRequestFrames ? decode_sequence(text_of(frames[2])) : std::nullopt;
    if (!first) {
      log::debug("a request for a replay of KV events is not one");
      return;
    }
    for (Sent& sent : sent_) {
      if (sent.sequence < *first) continue;
      zmq::message_t payload;
      payload.copy(sent.payload);
      reply(text_of(frames[0]), sent.sequence, std::move(payload));
    }
    reply(text_of(frames[0]), kEndOfReplay, {});
  }

 private:
  struct Sent {
    uint64_t sequence = 0;
    zmq::message_t payload;
  };

  bool send(Sent& sent) {
    constexpr auto kMore = zmq::send_flags::sndmore;
    if (!publisher_.send(message(topic_), kMore)) return false;
    // What may begin may also go on.
    publisher_.send(message(encode_sequence(sent.sequence)), kMore);
    zmq::message_t payload;
    payload.copy(sent.payload);  // counts references
    publisher_.send(std::move(payload), zmq::send_flags::none);
    return true;
  }

  std::vector<zmq::message_t> receive_request() {
    std::vector<zmq::message_t> frames;
    bool more = true;
    while (more) {
      zmq::message_t frame;
      if (!replay_.recv(frame, zmq::recv_flags::dontwait)) break;
      more = frame.more();
      if (frames.size() <= kRequestFrames) frames.push_back(std::move(frame));
    }
    return frames;
  }

  void reply(std::string_view client, uint64_t sequence, zmq::message_t payload) {
    constexpr auto kMore = zmq::send_flags::sndmore;
    replay_.send(message(client), kMore);
    replay_.send(zmq::message_t(), kMore);
    replay_.send(message(encode_sequence(sequence)), kMore);
    replay_.send(std::move(payload), zmq::send_flags::none);
  }

  zmq::context_t context_{1};
  zmq::socket_t publisher_{context_, zmq::socket_type::pub};
  zmq::socket_t replay_{context_, zmq::socket_type::router};
  bool has_replay_ = false;
  const std::string topic_;
  const size_t buffer_steps_;
  std::deque<Sent> sent_;  // the latest, for replays
};

class ZmqPublisher final : public KvEventPublisher {
 public:
  ZmqPublisher(std::unique_ptr<Sockets> sockets, std::unique_ptr<EventQueue> queue,
               const KvEventCounters& counters)
      : sockets_(std::move(sockets)),
        queue_(std::move(queue)),
        counters_(counters),
        endpoint_(sockets_->endpoint()),
        replay_endpoint_(sockets_->replay_endpoint()),
        collector_(std::make_shared<EventCollector>(*queue_, counters)),
        thread_([this] { run(); }) {}

  ~ZmqPublisher() override {
    // The cache goes with the process.
    queue_->push({{.kind = KvEvent::Kind::cleared}});
    queue_->close();
    thread_.join();
  }

  std::shared_ptr<EngineObserver> observer() const override { return collector_; }
  std::string endpoint() const override { return endpoint_; }
  std::string replay_endpoint() const override { return replay_endpoint_; }

 private:
  void run() {
    bool closed = false;
    while (!closed) {
      try {
        const bool replay = sockets_->wait(queue_->news());
        EventQueue::Taken taken = queue_->take();
        closed = taken.closed;
        for (const KvEventBatch& batch : taken.batches) {
          if (!sockets_->publish(batch)) counters_.missed.add();
          counters_.published.add(static_cast<int64_t>(batch.events.size()));
        }
        if (replay) sockets_->answer_replay();  // with what was just published
      } catch (const zmq::error_t& error) {
        if (error.num() == EINTR) continue;
        log::error("KV events are not published any more: {}", error.what());
        return;
      }
    }
  }

  std::unique_ptr<Sockets> sockets_;
  std::unique_ptr<EventQueue> queue_;
  KvEventCounters counters_;
  const std::string endpoint_;
  const std::string replay_endpoint_;
  std::shared_ptr<EventCollector> collector_;
  std::thread thread_;
};

}  // namespace

Result<void> check_has_kv_events() {
  return {};
}

Result<std::unique_ptr<KvEventPublisher>> start_kv_event_publisher(const KvEventsConfig& config,
                                                                   metrics::Registry& registry,
                                                                   const metrics::Labels& labels) {
  std::unique_ptr<Sockets> sockets;
  try {
    sockets = std::make_unique<Sockets>(config);
  } catch (const zmq::error_t& error) {
    return fail(ErrorCode::io, "cannot make ZeroMQ's sockets: {}", error.what());
  }
  TETRAD_TRY(sockets->open(config));
  TETRAD_ASSIGN(auto queue, EventQueue::create(config.max_queue_size));
  return std::make_unique<ZmqPublisher>(std::move(sockets), std::move(queue),
                                        KvEventCounters::in(registry, labels));
}

}  // namespace tetrad::kv_events
