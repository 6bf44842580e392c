#include "measure_collectives.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "parallel/agreement.h"

namespace tetrad {
namespace {

using collectives::DeviceAddress;
using collectives::DeviceCommunicator;

constexpr int64_t kFloatBytes = 4;

/// What rank `rank` brings. Of very different sizes, so that the order of addition shows; or whole
/// numbers, whose sums have no order.
std::vector<float> brought_values(int rank, int64_t count, bool order_counts) {
  std::mt19937 random(static_cast<uint32_t>(count * 64 + rank));
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    const auto number = static_cast<float>(random() % 4096);
    value = order_counts ? std::ldexp(number - 2048, static_cast<int>(random() % 40)) : number;
  }
  return values;
}

class CollectiveBench {
 public:
  CollectiveBench(DeviceCommunicator& communicator, gpu::Device& device,
                  parallel::Communicator& ranks, const CollectiveMeasurement& what)
      : communicator_(communicator), device_(device), ranks_(ranks), what_(what) {}
  CollectiveBench(const CollectiveBench&) = delete;
  CollectiveBench& operator=(const CollectiveBench&) = delete;
  ~CollectiveBench() { device_.free(values_); }

  Result<void> allocate() {
    TETRAD_ASSIGN(values_, device_.allocate(std::ranges::max(what_.sizes)));
    return {};
  }

  Result<void> check_sum(int64_t bytes) {
    const int64_t count = bytes / kFloatBytes;
    const bool order_counts = communicator_.adds_in_rank_order();
    std::vector<float> got = brought_values(communicator_.rank(), count, order_counts);
    TETRAD_TRY(device_.copy_to_device(values_, got.data(), bytes));
    TETRAD_TRY(communicator_.all_reduce_sum(values_, count));
    TETRAD_TRY(communicator_.wait());
    TETRAD_TRY(device_.copy_to_host(got.data(), values_, bytes));
    TETRAD_TRY(device_.synchronize());
    std::vector<float> wanted = brought_values(0, count, order_counts);
    for (int rank = 1; rank < communicator_.size(); ++rank) {
      const std::vector<float> part = brought_values(rank, count, order_counts);
      for (size_t i = 0; i < wanted.size(); ++i)
        wanted[i] += part[i];
    }
    const auto [wrong, right] = std::ranges::mismatch(got, wanted);
    if (wrong == got.end()) return {};
    return fail(ErrorCode::corrupt_data, "value {} of a sum of {} bytes over {} is {}, not {}",
                wrong - got.begin(), bytes, communicator_.name(), *wrong, *right);
  }

  Result<CollectiveTimes> time_size(int64_t bytes) {
    const auto calls = [&]() -> Result<void> {
      for (int i = 0; i < what_.calls; ++i)
        TETRAD_TRY(communicator_.all_reduce_sum(values_, bytes / kFloatBytes));
      return {};
    };
    // Zeros stay zeros, however often they are added.
    TETRAD_TRY(device_.fill(values_, 0, bytes));
    CollectiveTimes times{.bytes = bytes};
    TETRAD_ASSIGN(times.launched_us, median_us(calls));
    TETRAD_TRY(device_.begin_graph());
    TETRAD_TRY(calls());
    TETRAD_ASSIGN(const auto graph, device_.end_graph());
    TETRAD_TRY(device_.synchronize());
    TETRAD_ASSIGN(times.graph_us, median_us([&] { return device_.launch(*graph); }));
    return times;
  }

 private:
  Result<double> median_us(const std::function<Result<void>()>& all_calls) {
    std::vector<double> seconds;
    for (int round = 0; round <= what_.rounds; ++round) {
      device_.forget_times();
      TETRAD_TRY(ranks_.barrier());
      TETRAD_ASSIGN(const int begin, device_.record_time());
      TETRAD_TRY(all_calls());
      TETRAD_ASSIGN(const int end, device_.record_time());
      TETRAD_TRY(communicator_.wait());
      TETRAD_ASSIGN(seconds.emplace_back(), device_.seconds_between(begin, end));
    }
    seconds.erase(seconds.begin());  // the first warms up
    std::ranges::nth_element(seconds, seconds.begin() + static_cast<ptrdiff_t>(seconds.size() / 2));
    const double mine = seconds[seconds.size() / 2] * 1e6 / what_.calls;
    std::vector<double> all(static_cast<size_t>(ranks_.size()));
    TETRAD_TRY(parallel::all_gather_values<double>(ranks_, std::span(&mine, 1), all));
    return std::ranges::max(all);
  }

  DeviceCommunicator& communicator_;
  gpu::Device& device_;
  parallel::Communicator& ranks_;
  const CollectiveMeasurement& what_;
  DeviceAddress values_ = 0;
};

}  // namespace

Result<CollectiveFigures> measure_collectives(gpu::GpuKernels& kernels,
                                              parallel::Communicator& ranks,
                                              const collectives::CommunicatorOptions& options,
                                              const CollectiveMeasurement& what) {
  TETRAD_ASSIGN(const auto made, collectives::make_device_communicator(kernels, ranks, options));
  CollectiveFigures figures{
      .transport = std::string(made.communicator->name()), .reason = made.reason, .all_reduce = {}};
  CollectiveBench bench(*made.communicator, kernels.device(), ranks, what);
  TETRAD_TRY(parallel::agree(ranks, bench.allocate()));
  for (const int64_t bytes : what.sizes) {
    TETRAD_TRY(parallel::agree(ranks, bench.check_sum(bytes)));
    TETRAD_ASSIGN(figures.all_reduce.emplace_back(), bench.time_size(bytes));
  }
  return figures;
}

}  // namespace tetrad
