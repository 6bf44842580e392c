#pragma once

// What GPUs that compute one model together tell each other, in the order of their streams: nobody
// waits on the host. Every rank makes the same calls, with the same sizes, in the same order.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "gpu/device.h"
#include "kernels/gpu/gpu_kernels.h"
#include "parallel/communicator.h"

namespace tetrad::collectives {

using gpu::DeviceAddress;

/// One rank's end. One caller at a time, the one that launches on the device. Calls may be recorded
/// in a graph; all ranks then launch it.
class DeviceCommunicator {
 public:
  virtual ~DeviceCommunicator() = default;

  /// 0 to size() - 1.
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// What carries the messages, for logs and /version: "peer memory", "host memory", "NCCL 2.28.9".
  virtual std::string_view name() const = 0;
  /// Whether sums are added in the order of the ranks, so that their bits depend on the number of
  /// ranks alone. They are the same on all ranks in any case.
  virtual bool adds_in_rank_order() const = 0;

  /// values[i] = the sum of values[i] of all ranks. values: float32 [count], a multiple of 4.
  virtual Result<void> all_reduce_sum(DeviceAddress values, int64_t count) = 0;
  /// squares = the sums over the ranks of what qk_squares makes of `args`, in one launch. False
  /// where there is no such launch for so many tokens: nothing is done.
  virtual Result<bool> try_all_reduce_qk_squares(const gpu::QkSquaresArgs& args,
                                                 int64_t num_tokens) {
    (void)args;
    (void)num_tokens;
    return false;
  }
  /// all[row] = rank 0's mine[row], then that of rank 1, and so on, as far as all_cols: the last
  /// ranks may have fewer columns, or none. mine: float32 [rows, cols], all: float32 [rows,
  /// all_cols]. A single row may stand where it comes to: `all` has room for `cols` of each then.
  virtual Result<void> all_gather(DeviceAddress mine, int64_t rows, int64_t cols, DeviceAddress all,
                                  int64_t all_cols) = 0;

  /// Waits for the device. Errors: what it says; io, naming the ranks that did not come to all
  /// calls: what was computed since is nothing, and it stays so.
  virtual Result<void> wait() = 0;

  /// A rank is known to be lost: what waits for it on the device ends now, and wait() fails. Of any
  /// thread.
  virtual void give_up() = 0;
};

/// What may carry the messages.
enum class Transport : uint8_t {
  automatic,  // peer memory where it works, else host memory, else NCCL
  peer,       // kernels that write into each other's memory
  host,       // the same through page-locked memory of the machine
  nccl,       // NVIDIA's NCCL or AMD's RCCL, which add in an order of their own
};
/// "auto", "peer", "host", "nccl".
std::string_view transport_name(Transport transport);
/// Errors: invalid_argument, with the names that there are.
Result<Transport> parse_transport(std::string_view name);

struct CommunicatorOptions {
  Transport transport = Transport::automatic;
  /// How long a rank waits for another, within a step.
  std::chrono::milliseconds deadline{30'000};
  /// Bytes up to which each rank tells all values to all others; above, each adds up a share.
  /// -1: what is best for so many ranks.
  int64_t one_shot_bytes = -1;
  /// Bytes up to which values are sent with an epoch beside each, and no flag has to follow them.
  /// At most 128 KiB. -1: what is best for so many ranks.
  int64_t few_bytes = -1;
};

struct MadeCommunicator {
  std::unique_ptr<DeviceCommunicator> communicator;
  /// Why it is this transport and no other, for the log: "" where the first choice works.
  std::string reason;
};

/// This rank's end on its device, with the same options on all ranks, which must all come. `ranks`
/// tells who is where, and must outlive the result, as must `kernels`. A transport is tried with
/// sums whose results are known before it is taken. On gfx12 `automatic` does not try peer memory:
/// machines with R9700 cards hang with it (ROCm/rocm-systems issue 11348). Errors: unsupported,
/// with the reasons against each transport; what `ranks` says.
Result<MadeCommunicator> make_device_communicator(gpu::GpuKernels& kernels,
                                                  parallel::Communicator& ranks,
                                                  const CommunicatorOptions& options);

}  // namespace tetrad::collectives
