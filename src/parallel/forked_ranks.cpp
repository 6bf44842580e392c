#include "parallel/forked_ranks.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/system_error.h"
#include "parallel/broken_call.h"
#include "parallel/call.h"
#include "parallel/message_socket.h"
#include "parallel/rank_order_sum.h"

namespace tetrad::parallel {
namespace {

using std::chrono::milliseconds;
using Outcome = MessageSocket::Outcome;
using Time = MessageSocket::Time;

/// What rank 0 answers to a call, before the result or the text of an error.
struct Answer {
  uint64_t is_error = 0;
  uint64_t bytes = 0;
};

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}
template <class T>
std::span<std::byte> writable_bytes_of(T& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

/// What both kinds of ends have: the calls, and that an error stays.
class ForkedRank : public Communicator {
 public:
  ForkedRank(int rank, int size, milliseconds deadline)
      : rank_(rank), size_(size), deadline_(deadline) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string_view name() const override { return "sockets"; }

  Result<void> all_reduce_sum(std::span<float> values) override {
    return call({CallKind::all_reduce, values.size_bytes(), 0}, std::as_bytes(values),
                std::as_writable_bytes(values));
  }
  Result<void> all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    if (all.size() != mine.size() * static_cast<size_t>(size_))
      return fail(ErrorCode::internal, "{} ranks with {} bytes each are gathered into {}", size_,
                  mine.size(), all.size());
    return call({CallKind::all_gather, mine.size(), 0}, mine, all);
  }
  Result<void> broadcast(std::span<std::byte> bytes, int root) override {
    if (root < 0 || root >= size_)
      return fail(ErrorCode::internal, "rank {} of {} is to broadcast", root, size_);
    return call({CallKind::broadcast, bytes.size(), static_cast<uint64_t>(root)}, bytes, bytes);
  }
  Result<void> barrier() override { return call({CallKind::barrier, 0, 0}, {}, {}); }

  void set_deadline(milliseconds deadline) override { deadline_ = deadline; }
  void give_up(std::string reason) override {
    {
      const std::lock_guard lock(mutex_);
      if (!given_up_)
        given_up_ = {.code = ErrorCode::io, .message = std::move(reason), .param = ""};
    }
    shut_down();
    when_broken_.broken();
  }
  void leave() override { give_up(fmt::format("rank {} of {} has left", rank_, size_)); }
  void when_broken(std::function<void()> call) override { when_broken_.set(std::move(call)); }
  /// Their memory is other processes'.
  bool wait_for_parting() override { return barrier().has_value(); }

 protected:
  /// Who waits for another rank is told that it is gone. Thread-safe.
  virtual void shut_down() = 0;
  /// `mine`, of call.bytes, may be where the result goes.
  virtual Result<void> make(const Call& call, std::span<const std::byte> mine,
                            std::span<std::byte> result) = 0;

  Time in(int deadlines) const { return std::chrono::steady_clock::now() + deadlines * deadline_; }
  Result<void> check(Outcome outcome, int of_rank, const Call& call) const {
    if (outcome == Outcome::done) return {};
    if (outcome == Outcome::gone)
      return fail(ErrorCode::io, "rank {} of {} has left", of_rank, size_);
    return fail(ErrorCode::io, "rank {} of {} did not come to {} within {} ms", of_rank, size_,
                describe(call), deadline_.count());
  }

 private:
  Result<void> call(const Call& call, std::span<const std::byte> mine,
                    std::span<std::byte> result) {
    if (error_) return tl::unexpected(*error_);
    auto done = make(call, mine, result);
    {
      const std::lock_guard lock(mutex_);
      if (given_up_) done = tl::unexpected(*given_up_);
    }
    if (!done) {
      error_ = done.error();
      when_broken_.broken();
    }
    return done;
  }

  const int rank_;
  const int size_;
  milliseconds deadline_;
  std::optional<Error> error_;
  std::mutex mutex_;
  std::optional<Error> given_up_;
  BrokenCall when_broken_;
};

class FirstRank final : public ForkedRank {
 public:
  FirstRank(std::vector<MessageSocket> others, milliseconds deadline)
      : ForkedRank(0, static_cast<int>(others.size()) + 1, deadline), others_(std::move(others)) {}

 private:
  void shut_down() override {
    for (const MessageSocket& other : others_)
      other.shut_down();
  }

  Result<void> make(const Call& call, std::span<const std::byte> mine,
                    std::span<std::byte> result) override {
    auto made = gather(call, mine);
    if (made) combine(call, mine, result);
    for (MessageSocket& other : others_) {
      // Who is not there any more is noticed at the next call.
      if (made) {
        send(other, {.bytes = result.size()}, result);
      } else {
        const std::string& message = made.error().message;
        send(other, {.is_error = 1, .bytes = message.size()}, std::as_bytes(std::span(message)));
      }
    }
    return made;
  }

  void send(MessageSocket& other, const Answer& answer, std::span<const std::byte> bytes) {
    if (other.send(bytes_of(answer), in(1)) == Outcome::done) other.send(bytes, in(1));
  }

  Result<void> gather(const Call& call, std::span<const std::byte> mine) {
    // They know from here on that it is not rank 0 that they wait for.
    for (MessageSocket& other : others_)
      other.send(bytes_of(std::byte{1}), in(1));
    const Time until = in(1);
    std::vector<Call> calls = {call};
    for (MessageSocket& other : others_) {
      Call& theirs = calls.emplace_back();
      TETRAD_TRY(check(other.receive(writable_bytes_of(theirs), until),
                       static_cast<int>(calls.size()) - 1, call));
    }
    TETRAD_TRY(check_same_calls(calls));
    brought_.resize(others_.size());
    for (size_t i = 0; i < others_.size(); ++i) {
      brought_[i].resize(mine.size());
      TETRAD_TRY(check(others_[i].receive(brought_[i], until), static_cast<int>(i) + 1, call));
    }
    return {};
  }

  /// The result may stand where `mine` does.
  void combine(const Call& call, std::span<const std::byte> mine, std::span<std::byte> result) {
    switch (call.kind) {
      case CallKind::all_reduce:
        for (const auto& part : brought_)
          add_part({reinterpret_cast<float*>(result.data()), result.size() / sizeof(float)},
                   reinterpret_cast<const float*>(part.data()));
        break;
      case CallKind::all_gather:
        std::ranges::copy(mine, result.begin());
        for (size_t i = 0; i < brought_.size(); ++i)
          std::ranges::copy(brought_[i], result.subspan((i + 1) * mine.size()).begin());
        break;
      case CallKind::broadcast:
        if (call.root > 0) std::ranges::copy(brought_[call.root - 1], result.begin());
        break;
      case CallKind::barrier:
      case CallKind::leave:
        break;
    }
  }

  std::vector<MessageSocket> others_;
  std::vector<std::vector<std::byte>> brought_;
};

class OtherRank final : public ForkedRank {
 public:
  OtherRank(MessageSocket first, int rank, int size, milliseconds deadline)
      : ForkedRank(rank, size, deadline), first_(std::move(first)) {}

 private:
  void shut_down() override { first_.shut_down(); }

  Result<void> make(const Call& call, std::span<const std::byte> mine,
                    std::span<std::byte> result) override {
    const Time until = in(1);
    // Of an error rank 0 tells before it leaves, so that its answer counts, not that it is gone.
    if (first_.send(bytes_of(call), until) == Outcome::done)
      static_cast<void>(first_.send(mine, until));
    std::byte is_there{};
    TETRAD_TRY(check(first_.receive(writable_bytes_of(is_there), until), 0, call));
    // It may wait for the others as long again.
    Answer answer;
    TETRAD_TRY(check(first_.receive(writable_bytes_of(answer), in(2)), 0, call));
    if (answer.is_error != 0) {
      std::string message(answer.bytes, ' ');
      TETRAD_TRY(check(first_.receive(std::as_writable_bytes(std::span(message)), in(1)), 0, call));
      return fail(ErrorCode::io, "{}", message);
    }
    if (answer.bytes != result.size())
      return fail(ErrorCode::internal, "rank 0 answers with {} bytes, not {}", answer.bytes,
                  result.size());
    return check(first_.receive(result, in(1)), 0, call);
  }

  MessageSocket first_;
};

}  // namespace

Result<ForkedRanks> ForkedRanks::create(int size) {
  ForkedRanks ranks;
  for (int rank = 1; rank < size; ++rank) {
    std::array<int, 2> ends{};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
      return system_error("sockets between ranks", "make");
    ranks.of_rank_0_.push_back(ends[0]);
    ranks.theirs_.push_back(ends[1]);
  }
  return ranks;
}

ForkedRanks::~ForkedRanks() {
  for (const auto* files : {&theirs_, &of_rank_0_}) {
    for (const int file : *files)
      close(file);
  }
}

std::unique_ptr<Communicator> ForkedRanks::join(int rank, milliseconds deadline) && {
  const int size = static_cast<int>(theirs_.size()) + 1;
  if (rank == 0) {
    std::vector<MessageSocket> others;
    for (const int file : std::exchange(of_rank_0_, {}))
      others.emplace_back(file);
    // The others' ends, so that this process notices when they are closed.
    ForkedRanks rest = std::move(*this);
    return std::make_unique<FirstRank>(std::move(others), deadline);
  }
  const auto place = theirs_.begin() + (rank - 1);
  MessageSocket first(*place);
  theirs_.erase(place);
  ForkedRanks rest = std::move(*this);
  return std::make_unique<OtherRank>(std::move(first), rank, size, deadline);
}

}  // namespace tetrad::parallel
