// Ranks that are processes, on one host or on many, over MPI. The collectives are made of messages
// between two ranks each, for what MPI's own do not promise: a fixed order of addition, an error
// that names who does not come, and an end of waiting.

#include "parallel/mpi_ranks.h"

#include <mpi.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/integer_math.h"
#include "parallel/broken_call.h"
#include "parallel/call.h"
#include "parallel/mpi_environment.h"
#include "parallel/rank_order_sum.h"

namespace tetrad::parallel {
namespace {

constexpr int kMessageTag = 1;
/// Sums of more are made in slices, one a rank, so that a rank receives each value twice and not
/// once from every other.
constexpr size_t kSlicedSumValues = 1 << 14;
/// Looks for a message without a pause; then with one, so that others may use the processor.
constexpr int kPollsWithoutPause = 2000;
constexpr std::chrono::microseconds kPollPause{20};
/// Who has waited for so long waits for work, not within a step.
constexpr int kPollsOfAStep = kPollsWithoutPause + 2000;
constexpr std::chrono::microseconds kIdlePollPause{250};

using Bytes = std::vector<std::byte>;

/// How far the message from another rank is.
struct Arrival {
  enum class State { awaited, coming, here };
  State state = State::awaited;
  MPI_Request request = MPI_REQUEST_NULL;
  Bytes message;

  Call call() const {
    Call call;
    std::memcpy(&call, message.data(), sizeof call);
    return call;
  }
  std::span<const std::byte> payload() const { return std::span(message).subspan(sizeof(Call)); }
};

/// What MPI may still read or write when this rank has given up: then it is never freed.
struct Messages {
  std::vector<Bytes> sent;  // one for all, or one for each rank
  std::vector<MPI_Request> sends;
  std::vector<Arrival> arrivals;  // of each rank
};

Bytes message_of(const Call& call, std::span<const std::byte> payload) {
  Bytes message(sizeof call + payload.size());
  std::memcpy(message.data(), &call, sizeof call);
  std::ranges::copy(payload, message.begin() + sizeof call);
  return message;
}

std::string mpi_message(int status) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  if (MPI_Error_string(status, text, &length) != MPI_SUCCESS)
    return fmt::format("error {} of MPI", status);
  return {text, static_cast<size_t>(length)};
}

/// "Open MPI v4.1.4".
std::string mpi_library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  if (MPI_Get_library_version(text, &length) != MPI_SUCCESS) return "unknown";
  const std::string_view whole(text, static_cast<size_t>(length));
  return std::string(whole.substr(0, whole.find_first_of(",\n")));
}

class MpiRank final : public Communicator {
 public:
  MpiRank(MPI_Comm communicator, int rank, int size, std::chrono::milliseconds deadline)
      : communicator_(communicator), rank_(rank), size_(size), deadline_(deadline) {
    messages_->arrivals.resize(static_cast<size_t>(size));
  }

  ~MpiRank() override {
    MpiRank::leave();
    // Finalizing waits for the others, one of whom may never come.
    if (is_abandoned_) {
      const Messages* never_freed = messages_.release();
      static_cast<void>(never_freed);
      return;
    }
    MPI_Finalize();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string_view name() const override { return name_; }

  Result<void> all_reduce_sum(std::span<float> values) override {
    const Call call{CallKind::all_reduce, values.size_bytes(), 0};
    if (values.size() > kSlicedSumValues) return sum_in_slices(call, values);
    const Bytes mine = message_of(call, std::as_bytes(values));
    TETRAD_TRY(send_to_all(mine));
    TETRAD_TRY(receive(call, values.size_bytes()));
    return add_up(std::span(mine).subspan(sizeof call), values);
  }

  Result<void> all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    if (all.size() != mine.size() * static_cast<size_t>(size_)) {
      return fail(ErrorCode::internal, "{} ranks with {} bytes each are gathered into {}", size_,
                  mine.size(), all.size());
    }
    const Call call{CallKind::all_gather, mine.size(), 0};
    TETRAD_TRY(send_to_all(message_of(call, mine)));
    TETRAD_TRY(receive(call, mine.size()));
    for (int rank = 0; rank < size_; ++rank) {
      const auto part = rank == rank_ ? mine : arrival(rank).payload();
      std::ranges::copy(part, all.subspan(static_cast<size_t>(rank) * mine.size()).begin());
    }
    return {};
  }

  /// All say that they have come, as with all else; the root says more.
  Result<void> broadcast(std::span<std::byte> bytes, int root) override {
    if (root < 0 || root >= size_)
      return fail(ErrorCode::internal, "rank {} of {} is to broadcast", root, size_);
    const Call call{CallKind::broadcast, bytes.size(), static_cast<uint64_t>(root)};
    const bool is_root = root == rank_;
    TETRAD_TRY(send_to_all(message_of(call, is_root ? bytes : bytes.first(0))));
    TETRAD_TRY(receive(call, std::nullopt));
    if (is_root) return {};
    if (arrival(root).payload().size() != bytes.size()) return wrong_size(root, bytes.size());
    std::ranges::copy(arrival(root).payload(), bytes.begin());
    return {};
  }

  Result<void> barrier() override {
    const Call call{CallKind::barrier, 0, 0};
    TETRAD_TRY(send_to_all(message_of(call, {})));
    return receive(call, 0);
  }

  void set_deadline(std::chrono::milliseconds deadline) override { deadline_ = deadline; }

  void give_up(std::string reason) override {
    {
      const std::lock_guard lock(mutex_);
      if (!has_reason_) reason_ = std::move(reason);
      has_reason_ = true;
    }
    when_broken_.broken();
  }
  void leave() override {
    if (!error_ && say_goodbye())
      break_off(ErrorCode::io, fmt::format("rank {} of {} has left", rank_, size_), false);
  }
  void when_broken(std::function<void()> call) override { when_broken_.set(std::move(call)); }
  /// Their memory is other processes'.
  bool wait_for_parting() override { return barrier().has_value(); }

 private:
  Arrival& arrival(int rank) { return messages_->arrivals[static_cast<size_t>(rank)]; }

  tl::unexpected<Error> break_off(ErrorCode code, std::string message, bool abandoned) {
    error_ = Error{.code = code, .message = std::move(message), .param = ""};
    is_abandoned_ = is_abandoned_ || abandoned;
    when_broken_.broken();
    return tl::unexpected(*error_);
  }
  tl::unexpected<Error> wrong_size(int rank, size_t wanted) {
    return break_off(ErrorCode::internal,
                     fmt::format("rank {} sent {} bytes where {} are needed", rank,
                                 arrival(rank).payload().size(), wanted),
                     true);
  }
  tl::unexpected<Error> mpi_failed(int status) {
    return break_off(ErrorCode::io, "MPI: " + mpi_message(status), true);
  }

  Result<void> send_to_all(Bytes message) {
    std::vector<Bytes> messages;
    messages.push_back(std::move(message));
    return send(std::move(messages));
  }

  /// One message for all, or one for each rank.
  Result<void> send(std::vector<Bytes> messages) {
    if (error_) return tl::unexpected(*error_);
    TETRAD_TRY(check_reason());
    messages_->sent = std::move(messages);
    messages_->sends.clear();
    for (int i = 1; i < size_; ++i) {
      // Not all to rank 0 first.
      const int to = (rank_ + i) % size_;
      const Bytes& message =
          messages_->sent[messages_->sent.size() == 1 ? 0 : static_cast<size_t>(to)];
      if (message.size() > INT_MAX) {
        return break_off(ErrorCode::internal,
                         fmt::format("a message of {} bytes is too long for MPI", message.size()),
                         true);
      }
      const int status =
          MPI_Isend(message.data(), static_cast<int>(message.size()), MPI_BYTE, to, kMessageTag,
                    communicator_, &messages_->sends.emplace_back(MPI_REQUEST_NULL));
      if (status != MPI_SUCCESS) return mpi_failed(status);
    }
    return {};
  }

  /// A message of each other rank, and that they have ours. payload: what all must have.
  Result<void> receive(const Call& call, std::optional<size_t> payload) {
    const auto until = std::chrono::steady_clock::now() + deadline_;
    for (Arrival& arrival : messages_->arrivals)
      arrival.state = Arrival::State::awaited;
    for (int polls = 0;; ++polls) {
      bool all_here = true;
      for (int rank = 0; rank < size_; ++rank) {
        if (rank == rank_ || arrival(rank).state == Arrival::State::here) continue;
        TETRAD_TRY(poll(rank));
        if (arrival(rank).state != Arrival::State::here) {
          all_here = false;
          continue;
        }
        TETRAD_TRY(check(rank, call, payload));
      }
      if (all_here) {
        int are_sent = 0;
        const int status = MPI_Testall(static_cast<int>(messages_->sends.size()),
                                       messages_->sends.data(), &are_sent, MPI_STATUSES_IGNORE);
        if (status != MPI_SUCCESS) return mpi_failed(status);
        if (are_sent != 0) return {};
      }
      TETRAD_TRY(check_reason());
      if (polls < kPollsWithoutPause) continue;
      if (std::chrono::steady_clock::now() > until)
        return break_off(ErrorCode::io, missing(call, all_here), true);
      std::this_thread::sleep_for(polls < kPollsOfAStep ? kPollPause : kIdlePollPause);
    }
  }

  /// Whether somebody else knows that waiting is in vain.
  Result<void> check_reason() {
    if (!has_reason_) return {};
    const std::lock_guard lock(mutex_);
    return break_off(ErrorCode::io, reason_, true);
  }

  Result<void> poll(int rank) {
    Arrival& from = arrival(rank);
    int is_there = 0;
    if (from.state == Arrival::State::awaited) {
      MPI_Message message = MPI_MESSAGE_NULL;
      MPI_Status status;
      int result = MPI_Improbe(rank, kMessageTag, communicator_, &is_there, &message, &status);
      if (result != MPI_SUCCESS) return mpi_failed(result);
      if (is_there == 0) return {};
      int bytes = 0;
      MPI_Get_count(&status, MPI_BYTE, &bytes);
      from.message.resize(static_cast<size_t>(bytes));
      result = MPI_Imrecv(from.message.data(), bytes, MPI_BYTE, &message, &from.request);
      if (result != MPI_SUCCESS) return mpi_failed(result);
      from.state = Arrival::State::coming;
    }
    const int result = MPI_Test(&from.request, &is_there, MPI_STATUS_IGNORE);
    if (result != MPI_SUCCESS) return mpi_failed(result);
    if (is_there != 0) from.state = Arrival::State::here;
    return {};
  }

  Result<void> check(int rank, const Call& call, std::optional<size_t> payload) {
    if (arrival(rank).message.size() < sizeof(Call)) return wrong_size(rank, sizeof(Call));
    const Call theirs = arrival(rank).call();
    if (theirs.kind == CallKind::leave) {
      return break_off(ErrorCode::io, fmt::format("rank {} of {} has left", rank, size_), false);
    }
    if (theirs != call) {
      return break_off(ErrorCode::internal,
                       fmt::format("rank {} comes to {}, and rank {} to {}", rank, describe(theirs),
                                   rank_, describe(call)),
                       true);
    }
    if (payload && arrival(rank).payload().size() != *payload) return wrong_size(rank, *payload);
    return {};
  }

  std::string missing(const Call& call, bool all_came) {
    if (all_came)
      return fmt::format("{} was not taken within {} ms", describe(call), deadline_.count());
    std::string ranks;
    for (int rank = 0; rank < size_; ++rank) {
      if (rank == rank_ || arrival(rank).state == Arrival::State::here) continue;
      ranks += fmt::format("{}{}", ranks.empty() ? "" : ", ", rank);
    }
    return fmt::format("rank {} of {} did not come to {} within {} ms", ranks, size_,
                       describe(call), deadline_.count());
  }

  /// sum = the parts that have arrived and `mine`, rank 0's first.
  Result<void> add_up(std::span<const std::byte> mine, std::span<float> sum) {
    std::vector<float> part(sum.size());  // where floats may stand
    for (int rank = 0; rank < size_; ++rank) {
      const std::span<const std::byte> bytes = rank == rank_ ? mine : arrival(rank).payload();
      std::memcpy(rank == 0 ? sum.data() : part.data(), bytes.data(), sum.size_bytes());
      if (rank > 0) add_part(sum, part.data());
    }
    return {};
  }

  /// Each rank adds up one slice, and all gather them: the sums are the same.
  Result<void> sum_in_slices(const Call& call, std::span<float> values) {
    const auto slice_size =
        static_cast<size_t>(ceil_div(static_cast<int64_t>(values.size()), size_));
    const auto slice_of = [&](int rank) {
      const size_t begin = std::min(values.size(), static_cast<size_t>(rank) * slice_size);
      return values.subspan(begin, std::min(slice_size, values.size() - begin));
    };
    std::vector<Bytes> messages;
    messages.reserve(static_cast<size_t>(size_));
    for (int rank = 0; rank < size_; ++rank)
      messages.push_back(message_of(call, std::as_bytes(slice_of(rank))));
    const Bytes mine = messages[static_cast<size_t>(rank_)];
    TETRAD_TRY(send(std::move(messages)));
    TETRAD_TRY(receive(call, slice_of(rank_).size_bytes()));
    TETRAD_TRY(add_up(std::span(mine).subspan(sizeof call), slice_of(rank_)));

    const Call gather{CallKind::all_gather, values.size_bytes(), 0};
    TETRAD_TRY(send_to_all(message_of(gather, std::as_bytes(slice_of(rank_)))));
    TETRAD_TRY(receive(gather, std::nullopt));
    for (int rank = 0; rank < size_; ++rank) {
      if (rank == rank_) continue;
      const std::span<float> slice = slice_of(rank);
      const std::span<const std::byte> bytes = arrival(rank).payload();
      if (bytes.size() != slice.size_bytes()) return wrong_size(rank, slice.size_bytes());
      if (!slice.empty()) std::memcpy(slice.data(), bytes.data(), bytes.size());
    }
    return {};
  }

  /// Tells the others, who may be waiting, that this rank does not come any more.
  Result<void> say_goodbye() {
    TETRAD_TRY(send_to_all(message_of({CallKind::leave, 0, 0}, {})));
    const auto until = std::chrono::steady_clock::now() + deadline_;
    for (int are_sent = 0; are_sent == 0;) {
      const int status = MPI_Testall(static_cast<int>(messages_->sends.size()),
                                     messages_->sends.data(), &are_sent, MPI_STATUSES_IGNORE);
      if (status != MPI_SUCCESS) return mpi_failed(status);
      if (are_sent == 0 && std::chrono::steady_clock::now() > until)
        return break_off(ErrorCode::io, "nobody takes this rank's leave", true);
    }
    return {};
  }

  MPI_Comm communicator_;
  std::string name_ = fmt::format("MPI ({})", mpi_library());
  int rank_;
  int size_;
  std::chrono::milliseconds deadline_;
  std::unique_ptr<Messages> messages_ = std::make_unique<Messages>();
  std::optional<Error> error_;
  /// Another rank may be lost, and MPI still have this one's memory in hand.
  bool is_abandoned_ = false;
  // Of give_up().
  std::atomic<bool> has_reason_{false};
  std::mutex mutex_;  // of reason_
  std::string reason_;
  BrokenCall when_broken_;
};

}  // namespace

bool has_mpi() {
  return true;
}

Result<std::unique_ptr<Communicator>> join_mpi_ranks(std::chrono::milliseconds deadline) {
  int was_started = 0;
  if (MPI_Initialized(&was_started) != MPI_SUCCESS || was_started != 0)
    return fail(ErrorCode::internal, "this process has joined MPI's ranks already");
  prefer_shared_memory();
  int threads = 0;
  if (const int status = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &threads);
      status != MPI_SUCCESS) {
    return fail(ErrorCode::io, "MPI does not start: {}", mpi_message(status));
  }
  if (threads < MPI_THREAD_SERIALIZED)
    return fail(ErrorCode::unsupported, "this MPI can only be used by a process's main thread");
  MPI_Comm communicator = MPI_COMM_NULL;
  if (const int status = MPI_Comm_dup(MPI_COMM_WORLD, &communicator); status != MPI_SUCCESS)
    return fail(ErrorCode::io, "MPI: {}", mpi_message(status));
  MPI_Comm_set_errhandler(communicator, MPI_ERRORS_RETURN);
  int rank = 0;
  int size = 0;
  MPI_Comm_rank(communicator, &rank);
  MPI_Comm_size(communicator, &size);
  return std::make_unique<MpiRank>(communicator, rank, size, deadline);
}

}  // namespace tetrad::parallel
