#include "collectives/nccl_communicator.h"

#include <functional>
#include <mutex>
#include <string>
#include <utility>

#include "collectives/nccl_library.h"
#include "collectives/wait_timer.h"
#include "parallel/agreement.h"

namespace tetrad::collectives {
namespace {

using gpu::Device;

class NcclCommunicator final : public DeviceCommunicator {
 public:
  NcclCommunicator(Device& device, parallel::Communicator& ranks,
                   std::chrono::milliseconds deadline)
      : device_(device), rank_(ranks.rank()), size_(ranks.size()), deadline_(deadline) {}
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;
  ~NcclCommunicator() override {
    const bool is_well = wait() && device_.driver_stream();
    // After an error its end would wait for ranks that do not come.
    const std::lock_guard lock(mutex_);
    if (comm_ != nullptr) (is_well ? functions().destroy : functions().abort).call(comm_);
  }

  Result<void> open() {
    TETRAD_ASSIGN(const gpu::DeviceInfo info, device_.info());
    TETRAD_ASSIGN(library_, NcclLibrary::open(info.architecture));
    // The device of this thread is the one that the library takes.
    TETRAD_TRY(device_.driver_stream());
    return {};
  }
  Result<NcclUniqueId> unique_id() const {
    NcclUniqueId id{};
    TETRAD_TRY(library_.call(functions().unique_id, &id));
    return id;
  }
  Result<void> join(const NcclUniqueId& id) {
    return library_.call(functions().init_rank, &comm_, size_, id, rank_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string_view name() const override { return library_.name(); }
  // Of one rank there is no order, of two only one.
  bool adds_in_rank_order() const override { return size_ <= 2; }

  Result<void> all_reduce_sum(DeviceAddress values, int64_t count) override {
    TETRAD_ASSIGN(void* stream, device_.driver_stream());
    auto* at = reinterpret_cast<void*>(values);
    return with_others([&](NcclComm comm) {
      return library_.call(functions().all_reduce, at, at, static_cast<size_t>(count), kNcclFloat32,
                           kNcclSum, comm, stream);
    });
  }

  Result<void> all_gather(DeviceAddress mine, int64_t rows, int64_t cols, DeviceAddress all,
                          int64_t all_cols) override {
    if (all_cols != cols * size_)
      return fail(ErrorCode::unsupported,
                  "{} gathers as many values of each rank: {} columns of {} "
                  "ranks are not {}",
                  name(), cols, size_, all_cols);
    TETRAD_ASSIGN(void* stream, device_.driver_stream());
    return with_others([&](NcclComm comm) -> Result<void> {
      for (int64_t row = 0; row < rows; ++row) {
        const auto offset = [&](int64_t columns) {
          return static_cast<uint64_t>(row * columns) * sizeof(float);
        };
        TETRAD_TRY(library_.call(functions().all_gather,
                                 reinterpret_cast<const void*>(mine + offset(cols)),
                                 reinterpret_cast<void*>(all + offset(all_cols)),
                                 static_cast<size_t>(cols), kNcclFloat32, comm, stream));
      }
      return {};
    });
  }

  Result<void> wait() override {
    timer_.begin();
    const Result<void> waited = device_.synchronize();
    timer_.end();
    TETRAD_TRY(waited);
    return with_others([&](NcclComm comm) -> Result<void> {
      int status = kNcclSuccess;
      TETRAD_TRY(library_.call(functions().async_error, comm, &status));
      if (status == kNcclInProgress) return {};
      return library_.check(status, functions().async_error.name);
    });
  }

  void give_up() override { give_up("was given up: another rank is lost"); }

 private:
  const NcclFunctions& functions() const { return library_.functions(); }

  /// The library waits on the device for as long as it takes; ended, it never comes again.
  void give_up(std::string why) {
    const std::lock_guard lock(mutex_);
    if (comm_ == nullptr) return;
    why_ended_ = std::move(why);
    functions().abort.call(std::exchange(comm_, nullptr));
  }

  Result<void> with_others(const std::function<Result<void>(NcclComm)>& call) {
    const std::lock_guard lock(mutex_);
    if (comm_ == nullptr) return fail(ErrorCode::io, "a message over {} {}", name(), why_ended_);
    return call(comm_);
  }

  Device& device_;
  int rank_;
  int size_;
  std::chrono::milliseconds deadline_;
  NcclLibrary library_;
  std::mutex mutex_;  // of what follows
  NcclComm comm_ = nullptr;
  std::string why_ended_ = "was never begun";
  WaitTimer timer_{deadline_, [this] {
                     give_up(fmt::format("did not end within {} ms", deadline_.count()));
                   }};  // last: it runs on all of the above
};

}  // namespace

Result<std::unique_ptr<DeviceCommunicator>> make_nccl_communicator(
    Device& device, parallel::Communicator& ranks, std::chrono::milliseconds deadline) {
  auto communicator = std::make_unique<NcclCommunicator>(device, ranks, deadline);
  // All ranks have it, and the first one an id, before any waits for the others within it.
  TETRAD_TRY(agree(ranks, communicator->open()));
  NcclUniqueId id{};
  Result<void> told;
  if (ranks.rank() == 0) {
    auto made = communicator->unique_id();
    if (made) {
      id = *made;
    } else {
      told = tl::unexpected(made.error());
    }
  }
  TETRAD_TRY(agree(ranks, told));
  TETRAD_TRY(ranks.broadcast(std::as_writable_bytes(std::span(id.bytes)), 0));
  TETRAD_TRY(agree(ranks, communicator->join(id)));
  return communicator;
}

}  // namespace tetrad::collectives
