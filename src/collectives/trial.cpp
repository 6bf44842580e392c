#include "collectives/trial.h"

#include <algorithm>
#include <array>
#include <vector>

#include "parallel/agreement.h"

namespace tetrad::collectives {
namespace {

// A few values, a row of activations, and more than fits one shot of eight ranks.
constexpr std::array<int64_t, 3> kTrialCounts = {7, 3072, 100'001};
constexpr int kTrialRounds = 3;

/// Whole numbers, so that their sums are exact in any order.
float trial_value(int rank, int64_t i, int round) {
  return static_cast<float>((i * 37 + rank * 1009 + round * 77) % 4096 - 1000);
}

class Trial {
 public:
  Trial(DeviceCommunicator& communicator, gpu::Device& device)
      : communicator_(communicator), device_(device) {}
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;
  ~Trial() { device_.free(memory_); }

  Result<void> allocate() {
    TETRAD_ASSIGN(memory_, device_.allocate(4 * kTrialCounts.back() * (size() + 1)));
    return {};
  }

  Result<void> run() {
    for (int round = 0; round < kTrialRounds; ++round) {
      for (const int64_t count : kTrialCounts)
        TETRAD_TRY(run(count, round));
    }
    return wrong_;
  }

 private:
  int size() const { return communicator_.size(); }

  Result<void> upload(int64_t count, int round) {
    values_.resize(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i)
      values_[static_cast<size_t>(i)] = trial_value(communicator_.rank(), i, round);
    return device_.copy_to_device(memory_, values_.data(), count * 4);
  }

  /// Wrong values are noted only: the other ranks, which may have seen none, go on too.
  Result<void> expect_values(DeviceAddress from, int64_t count, std::string_view what,
                             const auto& wanted) {
    std::vector<float> got(static_cast<size_t>(count));
    TETRAD_TRY(device_.copy_to_host(got.data(), from, count * 4));
    TETRAD_TRY(communicator_.wait());
    for (int64_t i = 0; i < count && wrong_; ++i) {
      if (const float value = wanted(i); got[static_cast<size_t>(i)] != value)
        wrong_ = fail(ErrorCode::unsupported, "value {} of {} of {} was {}, not {}", i, count, what,
                      got[static_cast<size_t>(i)], value);
    }
    return {};
  }

  Result<void> run(int64_t count, int round) {
    TETRAD_TRY(upload(count, round));
    TETRAD_TRY(communicator_.all_reduce_sum(memory_, count));
    TETRAD_TRY(expect_values(memory_, count, "a sum", [&](int64_t i) {
      float sum = 0;
      for (int rank = 0; rank < size(); ++rank)
        sum += trial_value(rank, i, round);
      return sum;
    }));
    TETRAD_TRY(upload(count, round));
    const DeviceAddress all = memory_ + static_cast<uint64_t>(kTrialCounts.back()) * 4;
    TETRAD_TRY(communicator_.all_gather(memory_, 1, count, all, count * size()));
    return expect_values(all, count * size(), "a gathering", [&](int64_t i) {
      return trial_value(static_cast<int>(i / count), i % count, round);
    });
  }

  DeviceCommunicator& communicator_;
  gpu::Device& device_;
  DeviceAddress memory_ = 0;
  std::vector<float> values_;
  Result<void> wrong_;
};

}  // namespace

Result<void> try_out(DeviceCommunicator& communicator, gpu::Device& device,
                     parallel::Communicator& ranks) {
  Trial trial(communicator, device);
  // Then all begin together: a rank that is late for other reasons is not held against the
  // transport, and none allocates, which may wait for kernels, while another's kernel waits for it.
  TETRAD_TRY(agree(ranks, trial.allocate()));
  return agree(ranks, trial.run());
}

}  // namespace tetrad::collectives
