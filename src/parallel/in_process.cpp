#include "parallel/in_process.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <limits>
#include <mutex>
#include <optional>
#include <string>

#include "base/thread_pool.h"
#include "parallel/broken_call.h"
#include "parallel/call.h"
#include "parallel/rank_order_sum.h"

namespace tetrad::parallel {
namespace {

/// Within a forward pass the others come in microseconds, and to sleep would cost more than the
/// wait. Only where each rank has a processor.
constexpr int kMeetingSpins = 4000;

void relax_rank() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Where the ranks meet. What a rank brings is copied into memory of the group's, so that nobody
/// reads from a rank that has given up and gone.
class Meeting {
 public:
  Meeting(int size, std::chrono::milliseconds deadline)
      : deadline_ms_(deadline.count()),
        spins_(size <= available_processors() ? kMeetingSpins : 0),
        ranks_(static_cast<size_t>(size)),
        when_broken_(static_cast<size_t>(size)),
        has_come_(static_cast<size_t>(size)),
        num_partings_(static_cast<size_t>(size)) {}

  size_t size() const { return ranks_.size(); }

  /// Brings `bytes`, waits for all and checks that they make the same call. Of the calls that a
  /// rank makes `turn` is 0, 1, 2, …
  Result<void> meet(size_t rank, uint64_t turn, const Call& call,
                    std::span<const std::byte> bytes) {
    Brought& mine = ranks_[rank][turn % 2];
    // Nobody reads this any more: all have come to the last turn, which has the other place.
    mine.call = call;
    mine.bytes.assign(bytes.begin(), bytes.end());
    TETRAD_TRY(wait_for_all(rank, call));
    std::vector<Call> calls;
    calls.reserve(size());
    for (const auto& of_rank : ranks_)
      calls.push_back(of_rank[turn % 2].call);
    if (auto same = check_same_calls(calls); !same) return break_up(std::move(same.error()));
    return {};
  }

  /// What a rank brought to a turn whose meet() has returned.
  std::span<const std::byte> brought(size_t rank, uint64_t turn) const {
    return ranks_[rank][turn % 2].bytes;
  }

  void leave(size_t rank) { give_up(fmt::format("rank {} of {} has left", rank, size())); }
  void give_up(std::string reason) {
    break_up({.code = ErrorCode::io, .message = std::move(reason), .param = ""});
  }

  void when_broken(size_t rank, std::function<void()> call) {
    when_broken_[rank].set(std::move(call));
  }

  /// See Communicator.
  bool wait_for_parting(size_t rank) {
    std::unique_lock lock(mutex_);
    const int64_t mine = ++num_partings_[rank];
    changed_.notify_all();
    return changed_.wait_for(lock, std::chrono::milliseconds(deadline_ms_), [&] {
      return std::ranges::all_of(num_partings_, [&](int64_t theirs) { return theirs >= mine; });
    });
  }
  /// Nothing of this rank is there any more.
  void end(size_t rank) {
    leave(rank);
    const std::lock_guard lock(mutex_);
    num_partings_[rank] = std::numeric_limits<int64_t>::max();
    changed_.notify_all();
  }

  /// Threads of one process have one deadline.
  void set_deadline(std::chrono::milliseconds deadline) { deadline_ms_ = deadline.count(); }

 private:
  struct Brought {
    Call call;
    std::vector<std::byte> bytes;
  };

  /// The first error counts, and is everybody's.
  tl::unexpected<Error> break_up(Error error) {
    return break_up(std::move(error), std::unique_lock(mutex_));
  }
  tl::unexpected<Error> break_up(Error error, std::unique_lock<std::mutex> lock) {
    if (!broken_) broken_ = std::move(error);
    error = *broken_;
    is_broken_.store(true, std::memory_order_release);
    changed_.notify_all();
    lock.unlock();
    for (BrokenCall& of_rank : when_broken_)
      of_rank.broken();
    return tl::unexpected(std::move(error));
  }

  Result<void> wait_for_all(size_t rank, const Call& call) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(deadline_ms_);
    std::unique_lock lock(mutex_);
    if (broken_) return tl::unexpected(*broken_);
    const uint64_t before = num_meetings_.load(std::memory_order_relaxed);
    has_come_[rank] = true;
    if (++num_come_ == size()) {
      num_come_ = 0;
      std::fill(has_come_.begin(), has_come_.end(), false);
      num_meetings_.store(before + 1, std::memory_order_release);
      changed_.notify_all();
      return {};
    }
    lock.unlock();
    const auto is_over = [&] {
      return num_meetings_.load(std::memory_order_acquire) != before ||
             is_broken_.load(std::memory_order_acquire);
    };
    for (int spin = 0; spin < spins_ && !is_over(); ++spin)
      relax_rank();
    if (num_meetings_.load(std::memory_order_acquire) != before) return {};
    lock.lock();
    changed_.wait_until(lock, until, is_over);
    // All had come, even if one has left since.
    if (num_meetings_.load(std::memory_order_relaxed) != before) return {};
    if (broken_) return tl::unexpected(*broken_);
    return break_up({.code = ErrorCode::io, .message = missing(call), .param = ""},
                    std::move(lock));
  }

  std::string missing(const Call& call) const {
    std::string ranks;
    for (size_t rank = 0; rank < size(); ++rank) {
      if (!has_come_[rank]) ranks += fmt::format("{}{}", ranks.empty() ? "" : ", ", rank);
    }
    return fmt::format("rank {} of {} did not come to {} within {} ms", ranks, size(),
                       describe(call), deadline_ms_.load());
  }

  std::atomic<int64_t> deadline_ms_;
  const int spins_;
  std::vector<std::array<Brought, 2>> ranks_;
  std::atomic<uint64_t> num_meetings_{0};
  std::atomic<bool> is_broken_{false};
  std::vector<BrokenCall> when_broken_;  // of each rank
  std::mutex mutex_;                     // of what follows
  std::condition_variable changed_;
  std::vector<bool> has_come_;
  std::vector<int64_t> num_partings_;  // of each rank
  size_t num_come_ = 0;
  std::optional<Error> broken_;
};

class InProcessRank final : public Communicator {
 public:
  InProcessRank(std::shared_ptr<Meeting> meeting, size_t rank)
      : meeting_(std::move(meeting)), rank_(rank) {}
  ~InProcessRank() override { meeting_->end(rank_); }

  int rank() const override { return static_cast<int>(rank_); }
  int size() const override { return static_cast<int>(meeting_->size()); }
  std::string_view name() const override { return "in-process"; }

  Result<void> all_reduce_sum(std::span<float> values) override {
    TETRAD_ASSIGN(const uint64_t turn,
                  meet({CallKind::all_reduce, values.size_bytes(), 0}, std::as_bytes(values)));
    if (values.empty()) return {};
    std::memcpy(values.data(), meeting_->brought(0, turn).data(), values.size_bytes());
    for (size_t rank = 1; rank < meeting_->size(); ++rank)
      add_part(values, reinterpret_cast<const float*>(meeting_->brought(rank, turn).data()));
    return {};
  }

  Result<void> all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    if (all.size() != mine.size() * meeting_->size()) {
      return fail(ErrorCode::internal, "{} ranks with {} bytes each are gathered into {}",
                  meeting_->size(), mine.size(), all.size());
    }
    TETRAD_ASSIGN(const uint64_t turn, meet({CallKind::all_gather, mine.size(), 0}, mine));
    for (size_t rank = 0; rank < meeting_->size(); ++rank)
      std::ranges::copy(meeting_->brought(rank, turn), all.subspan(rank * mine.size()).begin());
    return {};
  }

  Result<void> broadcast(std::span<std::byte> bytes, int root) override {
    if (root < 0 || root >= size())
      return fail(ErrorCode::internal, "rank {} of {} is to broadcast", root, size());
    const auto from = static_cast<size_t>(root);
    const std::span<const std::byte> mine = from == rank_ ? bytes : bytes.first(0);
    TETRAD_ASSIGN(const uint64_t turn, meet({CallKind::broadcast, bytes.size(), from}, mine));
    if (from != rank_) std::ranges::copy(meeting_->brought(from, turn), bytes.begin());
    return {};
  }

  Result<void> barrier() override {
    TETRAD_ASSIGN(const uint64_t turn, meet({CallKind::barrier, 0, 0}, {}));
    static_cast<void>(turn);
    return {};
  }

  void set_deadline(std::chrono::milliseconds deadline) override {
    meeting_->set_deadline(deadline);
  }
  void give_up(std::string reason) override { meeting_->give_up(std::move(reason)); }
  void leave() override { meeting_->leave(rank_); }
  void when_broken(std::function<void()> call) override {
    meeting_->when_broken(rank_, std::move(call));
  }
  bool wait_for_parting() override { return meeting_->wait_for_parting(rank_); }

 private:
  Result<uint64_t> meet(const Call& call, std::span<const std::byte> bytes) {
    // After an error others may still read what this rank brought to an earlier turn.
    if (error_) return tl::unexpected(*error_);
    const uint64_t turn = next_turn_++;
    if (auto met = meeting_->meet(rank_, turn, call, bytes); !met) {
      error_ = std::move(met.error());
      return tl::unexpected(*error_);
    }
    return turn;
  }

  std::shared_ptr<Meeting> meeting_;
  size_t rank_;
  uint64_t next_turn_ = 0;
  std::optional<Error> error_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_in_process_ranks(
    int size, std::chrono::milliseconds deadline) {
  const auto meeting = std::make_shared<Meeting>(size, deadline);
  std::vector<std::unique_ptr<Communicator>> ranks;
  ranks.reserve(meeting->size());
  for (size_t rank = 0; rank < meeting->size(); ++rank)
    ranks.push_back(std::make_unique<InProcessRank>(meeting, rank));
  return ranks;
}

}  // namespace tetrad::parallel
