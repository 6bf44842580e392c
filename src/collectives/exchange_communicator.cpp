#include "collectives/exchange_communicator.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <utility>

#include "parallel/agreement.h"

namespace tetrad::collectives {
namespace {

using gpu::Device;
using gpu::kExchangeBlocks;
using gpu::kExchangeThreads;

constexpr int64_t kGroupFloats = 4;
constexpr int64_t kBlockGroups = gpu::kExchangeBlockBytes / (kGroupFloats * sizeof(float));

class ExchangeCommunicator final : public DeviceCommunicator {
 public:
  ExchangeCommunicator(gpu::GpuKernels& kernels, parallel::Communicator& ranks, Transport transport)
      : kernels_(kernels), device_(kernels.device()), ranks_(ranks), transport_(transport) {}
  ExchangeCommunicator(const ExchangeCommunicator&) = delete;
  ExchangeCommunicator& operator=(const ExchangeCommunicator&) = delete;
  ~ExchangeCommunicator() override {
    memory_ = nullptr;  // waits for the device
    device_.free(state_);
    device_.free_pinned(failure_);
  }

  Result<void> allocate() {
    TETRAD_ASSIGN(state_, device_.allocate(sizeof(gpu::ExchangeState)));
    TETRAD_TRY(device_.fill(state_, 0, sizeof(gpu::ExchangeState)));
    TETRAD_ASSIGN(failure_, device_.allocate_pinned(sizeof(gpu::ExchangeFailure)));
    std::memset(failure_, 0, sizeof(gpu::ExchangeFailure));
    return load_kernels();
  }
  /// nullptr: of one rank.
  void start(std::unique_ptr<RankMemory> memory, const CommunicatorOptions& options) {
    memory_ = std::move(memory);
    one_shot_bytes_ = options.one_shot_bytes >= 0
                          ? options.one_shot_bytes
                          : default_one_shot_bytes(size(), kernels_.is_gfx12());
    few_bytes_ =
        options.few_bytes >= 0 ? options.few_bytes : default_few_bytes(size(), kernels_.is_gfx12());
    exchange_.rank = static_cast<uint32_t>(rank());
    exchange_.num_ranks = static_cast<uint32_t>(size());
    // Kernels compute addresses of ranks that are not there, and do not use them.
    std::ranges::fill(exchange_.memory, reinterpret_cast<char*>(state_));
    exchange_.is_read_remotely = transport_ == Transport::host ? 1 : 0;
    exchange_.state = reinterpret_cast<gpu::ExchangeState*>(state_);
    exchange_.failure = reinterpret_cast<gpu::ExchangeFailure*>(failure_);
    exchange_.deadline_ns = static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(options.deadline).count());
    if (memory_ == nullptr) return;
    const auto& addresses = memory_->addresses();
    for (size_t r = 0; r < addresses.size(); ++r)
      exchange_.memory[r] = reinterpret_cast<char*>(addresses[r]);
  }

  int rank() const override { return ranks_.rank(); }
  int size() const override { return ranks_.size(); }
  std::string_view name() const override {
    return size() == 1 ? "one rank" : transport_ == Transport::host ? "host memory" : "peer memory";
  }
  bool adds_in_rank_order() const override { return true; }

  Result<void> all_reduce_sum(DeviceAddress values, int64_t count) override {
    if (size() == 1) return {};
    const int64_t bytes = count * static_cast<int64_t>(sizeof(float));
    if (bytes <= few_bytes_ && count <= gpu::kMaxFewValues) {
      kernels_.all_reduce_few({.exchange = exchange_,
                               .values = reinterpret_cast<float*>(values),
                               .count = static_cast<uint32_t>(count)});
      return kernels_.status();
    }
    const bool is_one_shot = bytes <= one_shot_bytes_;
    // In two shots each rank's share is rounded up to a whole group.
    const int64_t block_groups = is_one_shot ? kBlockGroups / size() : kBlockGroups / 2 - size();
    return in_slices(
        groups_of(count), block_groups, [&](int64_t first, int64_t groups, uint32_t blocks) {
          const int64_t at = first * kGroupFloats;
          const gpu::AllReduceArgs args{
              .exchange = exchange_,
              .values = reinterpret_cast<float*>(values) + at,
              .count = static_cast<uint32_t>(std::min(count - at, groups * kGroupFloats))};
          is_one_shot ? kernels_.all_reduce_one_shot(args, blocks)
                      : kernels_.all_reduce_two_shot(args, blocks);
        });
  }

  Result<bool> try_all_reduce_qk_squares(const gpu::QkSquaresArgs& args,
                                         int64_t num_tokens) override {
    constexpr int64_t kMaxTokens = int64_t{kExchangeBlocks} * gpu::kSquaresBlockTokens;
    if (size() == 1 || num_tokens > kMaxTokens || num_tokens * 8 > few_bytes_) return false;
    kernels_.all_reduce_qk_squares(
        {.exchange = exchange_, .squares = args, .num_tokens = static_cast<uint32_t>(num_tokens)});
    TETRAD_TRY(kernels_.status());
    return true;
  }

  Result<void> all_gather(DeviceAddress mine, int64_t rows, int64_t cols, DeviceAddress all,
                          int64_t all_cols) override {
    return in_slices(rows * groups_of(cols), kBlockGroups / size(),
                     [&](int64_t first, int64_t groups, uint32_t blocks) {
                       kernels_.all_gather_ranks({.exchange = exchange_,
                                                  .mine = reinterpret_cast<const float*>(mine),
                                                  .all = reinterpret_cast<float*>(all),
                                                  .cols = static_cast<uint32_t>(cols),
                                                  .all_cols = static_cast<uint32_t>(all_cols),
                                                  .first_group = static_cast<uint64_t>(first),
                                                  .num_groups = static_cast<uint32_t>(groups)},
                                                 blocks);
                     });
  }

  Result<void> wait() override {
    TETRAD_TRY(device_.synchronize());
    std::string missing;
    auto* failure = reinterpret_cast<gpu::ExchangeFailure*>(failure_);
    for (int r = 0; r < size(); ++r) {
      // The device writes it.
      if (std::atomic_ref(failure->is_missing[r]).load() != 0)
        missing += fmt::format("{}{}", missing.empty() ? "" : ", ", r);
    }
    if (missing.empty()) return {};
    if (std::atomic_ref(failure->is_given_up).load() != 0)
      return fail(ErrorCode::io, "rank {} of {} did not come to a message over {} and was given up",
                  missing, size(), name());
    return fail(ErrorCode::io, "rank {} of {} did not come to a message over {} within {} ms",
                missing, size(), name(), exchange_.deadline_ns / 1'000'000);
  }

  void give_up() override {
    // The device reads it.
    std::atomic_ref(reinterpret_cast<gpu::ExchangeFailure*>(failure_)->is_given_up).store(1);
  }

 private:
  /// A driver may load a kernel when it is launched for the first time, and wait for all that run
  /// in the process then: there must be none of another rank that waits for this one.
  Result<void> load_kernels() {
    gpu::RankExchange alone{.state = reinterpret_cast<gpu::ExchangeState*>(state_)};
    std::ranges::fill(alone.memory, reinterpret_cast<char*>(state_));
    // Two values anywhere: of a block that does not run.
    auto* somewhere = &reinterpret_cast<gpu::ExchangeState*>(state_)->epoch[kExchangeBlocks - 2];
    auto* values = reinterpret_cast<float*>(somewhere);
    kernels_.all_reduce_few({.exchange = alone, .values = values, .count = 2});
    kernels_.all_reduce_qk_squares(
        {.exchange = alone, .squares = {.squares = values}, .num_tokens = 1});
    kernels_.all_reduce_one_shot({.exchange = alone}, 1);
    kernels_.all_reduce_two_shot({.exchange = alone}, 1);
    kernels_.all_gather_ranks({.exchange = alone}, 1);
    TETRAD_TRY(kernels_.status());
    TETRAD_TRY(device_.fill(state_, 0, sizeof(gpu::ExchangeState)));
    return device_.synchronize();
  }

  static int64_t groups_of(int64_t count) { return (count + kGroupFloats - 1) / kGroupFloats; }

  /// launch(first, groups, blocks) of messages that fit, of at most block_groups a block.
  template <class Launch>
  Result<void> in_slices(int64_t groups, int64_t block_groups, const Launch& launch) {
    const int64_t most = kExchangeBlocks * block_groups;
    for (int64_t first = 0; first < groups; first += most) {
      const int64_t part = std::min(most, groups - first);
      const int64_t blocks =
          std::min<int64_t>((part + kExchangeThreads - 1) / kExchangeThreads, kExchangeBlocks);
      launch(first, part, static_cast<uint32_t>(blocks));
    }
    return kernels_.status();
  }

  gpu::GpuKernels& kernels_;
  Device& device_;
  parallel::Communicator& ranks_;
  Transport transport_;
  std::unique_ptr<RankMemory> memory_;
  DeviceAddress state_ = 0;
  std::byte* failure_ = nullptr;
  int64_t one_shot_bytes_ = 0;
  int64_t few_bytes_ = 0;
  gpu::RankExchange exchange_;
};

}  // namespace

Result<std::unique_ptr<DeviceCommunicator>> make_exchange_communicator(
    gpu::GpuKernels& kernels, parallel::Communicator& ranks, Transport transport,
    const CommunicatorOptions& options) {
  if (ranks.size() > int{gpu::kMaxRanks})
    return fail(ErrorCode::unsupported, "{} ranks: memory carries messages between at most {}",
                ranks.size(), gpu::kMaxRanks);
  auto communicator = std::make_unique<ExchangeCommunicator>(kernels, ranks, transport);
  TETRAD_TRY(agree(ranks, communicator->allocate()));
  std::unique_ptr<RankMemory> memory;
  if (ranks.size() > 1) {
    constexpr int64_t kBytes = gpu::kExchangeBytes;
    TETRAD_ASSIGN(memory, transport == Transport::host
                              ? share_host_memory(kernels.device(), ranks, kBytes)
                              : share_device_memory(kernels.device(), ranks, kBytes));
  }
  communicator->start(std::move(memory), options);
  return communicator;
}

int64_t default_one_shot_bytes(int num_ranks, bool is_gfx12) {
  if (num_ranks == 2) return std::numeric_limits<int64_t>::max();
  if (is_gfx12) return int64_t{16} << 10;
  return int64_t{num_ranks <= 4 ? 512 : 256} << 10;
}

int64_t default_few_bytes(int num_ranks, bool is_gfx12) {
  return (int64_t{is_gfx12 ? 64 : 256} << 10) / num_ranks;
}

}  // namespace tetrad::collectives
