#include "gpu/emulated_device.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <utility>

#include "base/free_memory.h"
#include "gpu/emulated_sharing.h"

namespace tetrad::gpu {
namespace {

/// What a block of the hardware may have.
constexpr int64_t kEmulatedSharedBytes = int64_t{227} << 10;
constexpr int64_t kEmulatedGfx12SharedBytes = int64_t{64} << 10;
constexpr size_t kEmulatedAlignment = 256;

struct FreeAligned {
  void operator()(std::byte* memory) const {
    ::operator delete[](memory, std::align_val_t{kEmulatedAlignment});
  }
};
using AlignedBytes = std::unique_ptr<std::byte[], FreeAligned>;

AlignedBytes never_written(int64_t bytes) {
  const auto size = static_cast<size_t>(bytes);
  AlignedBytes memory(static_cast<std::byte*>(
      ::operator new[](size, std::align_val_t{kEmulatedAlignment}, std::nothrow)));
  if (memory != nullptr) std::memset(memory.get(), 0xFF, size);
  return memory;
}

class EmulatedGraph final : public Graph {
 public:
  std::vector<std::function<Result<void>()>> steps;
};

class EmulatedDevice final : public Device {
 public:
  EmulatedDevice(std::string_view name, std::span<const EmulatedKernel> kernels, ThreadOrder order)
      : name_(name),
        kernels_(kernels),
        order_(order),
        shared_bytes_(name == "gfx12" ? kEmulatedGfx12SharedBytes : kEmulatedSharedBytes) {}

  Result<DeviceInfo> info() override {
    return DeviceInfo{.name = name_,
                      .architecture = "emulated",
                      .driver = "none",
                      .num_multiprocessors = 2,
                      .total_bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE),
                      .free_bytes = free_memory(),
                      .l2_bytes = int64_t{1} << 20,
                      .shared_bytes_per_block = shared_bytes_};
  }

  Result<DeviceAddress> allocate(int64_t bytes) override {
    AlignedBytes memory = never_written(bytes);
    if (memory == nullptr)
      return fail(ErrorCode::resource_exhausted, "no memory for {} bytes", bytes);
    const auto address = reinterpret_cast<DeviceAddress>(memory.get());
    memory_.emplace(address, std::move(memory));
    return address;
  }
  void free(DeviceAddress address) override {
    if (!sharing_.free(address)) memory_.erase(address);
  }
  Result<std::byte*> allocate_pinned(int64_t bytes) override {
    TETRAD_ASSIGN(const DeviceAddress address, allocate(bytes));
    return reinterpret_cast<std::byte*>(address);
  }
  void free_pinned(std::byte* memory) override { free(reinterpret_cast<DeviceAddress>(memory)); }

  Result<void> copy_to_device(DeviceAddress to, const void* from, int64_t bytes) override {
    return copy(reinterpret_cast<void*>(to), from, bytes);
  }
  Result<void> copy_to_host(void* to, DeviceAddress from, int64_t bytes) override {
    return copy(to, reinterpret_cast<const void*>(from), bytes);
  }
  Result<void> fill(DeviceAddress address, uint8_t value, int64_t bytes) override {
    return now_or_later([=]() -> Result<void> {
      std::memset(reinterpret_cast<void*>(address), value, static_cast<size_t>(bytes));
      return {};
    });
  }

  Result<Kernel> kernel(std::string_view name) override {
    for (const EmulatedKernel& kernel : kernels_) {
      if (kernel.name == name) return Kernel{const_cast<EmulatedKernel*>(&kernel)};
    }
    return fail(ErrorCode::not_found, "{} has no kernel '{}'", name_, name);
  }

  Result<void> launch(Kernel kernel, const LaunchShape& shape, const void* arguments,
                      size_t argument_bytes) override {
    const auto* bytes = static_cast<const std::byte*>(arguments);
    std::vector<std::byte> copied(bytes, bytes + argument_bytes);
    const auto* emulated = static_cast<const EmulatedKernel*>(kernel.handle);
    if (shape.shared_bytes > shared_bytes_) {
      return fail(ErrorCode::invalid_argument, "{} asks for {} bytes of shared memory of {}",
                  emulated->name, shape.shared_bytes, shared_bytes_);
    }
    return now_or_later([this, emulated, shape, copied = std::move(copied)] {
      return run(*emulated, shape, copied.data());
    });
  }

  Result<void> begin_graph() override {
    if (recorded_ != nullptr) return fail(ErrorCode::internal, "a graph is being recorded already");
    recorded_ = std::make_unique<EmulatedGraph>();
    return {};
  }
  Result<std::unique_ptr<Graph>> end_graph() override {
    if (recorded_ == nullptr) return fail(ErrorCode::internal, "no graph is being recorded");
    return std::unique_ptr<Graph>(std::move(recorded_));
  }
  Result<void> launch(const Graph& graph) override {
    for (const auto& step : static_cast<const EmulatedGraph&>(graph).steps)
      TETRAD_TRY(step());
    return {};
  }

  Result<void> synchronize() override { return {}; }

  MemorySharing& sharing() override { return sharing_; }
  Result<void*> driver_stream() override {
    return fail(ErrorCode::unsupported, "the emulated GPU has no driver that a library could use");
  }

  Result<int> record_time() override {
    times_.push_back(std::chrono::steady_clock::now());
    return static_cast<int>(times_.size()) - 1;
  }
  Result<double> seconds_between(int first, int second) override {
    return std::chrono::duration<double>(times_.at(static_cast<size_t>(second)) -
                                         times_.at(static_cast<size_t>(first)))
        .count();
  }
  void forget_times() override { times_.clear(); }

 private:
  Result<void> now_or_later(std::function<Result<void>()> step) {
    if (recorded_ == nullptr) return step();
    recorded_->steps.push_back(std::move(step));
    return {};
  }
  Result<void> copy(void* to, const void* from, int64_t bytes) {
    return now_or_later([=]() -> Result<void> {
      // Nothing may come from nowhere.
      if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
      return {};
    });
  }

  Result<void> run(const EmulatedKernel& kernel, const LaunchShape& shape, const void* arguments) {
    if (shape.blocks_meet) return run_together(kernel, shape, arguments);
    EmulatedBlock::Position position{.grid_x = shape.grid_x};
    for (uint32_t z = 0; z < shape.grid_z; ++z) {
      for (uint32_t y = 0; y < shape.grid_y; ++y) {
        for (uint32_t x = 0; x < shape.grid_x; ++x) {
          const AlignedBytes shared = never_written(shape.shared_bytes);
          position.block[0] = x;
          position.block[1] = y;
          position.block[2] = z;
          const std::string error = block_.run(kernel.run, arguments, position, shape.threads,
                                               reinterpret_cast<char*>(shared.get()), order_);
          if (!error.empty()) return fail(ErrorCode::internal, "{}: {}", kernel.name, error);
        }
      }
    }
    return {};
  }

  /// All blocks of a row, thread by thread in turns.
  Result<void> run_together(const EmulatedKernel& kernel, const LaunchShape& shape,
                            const void* arguments) {
    struct Block {
      EmulatedBlock threads;
      AlignedBytes shared;
    };
    if (shape.grid_y != 1 || shape.grid_z != 1)
      return fail(ErrorCode::invalid_argument, "{}: blocks that meet are a row", kernel.name);
    std::vector<Block> blocks(shape.grid_x);
    std::vector<uint32_t> turns(shape.grid_x);
    std::iota(turns.begin(), turns.end(), 0u);
    if (order_ == ThreadOrder::descending) std::ranges::reverse(turns);
    if (order_ == ThreadOrder::shuffled) std::ranges::shuffle(turns, std::mt19937(shape.grid_x));
    for (uint32_t x = 0; x < shape.grid_x; ++x) {
      blocks[x].shared = never_written(shape.shared_bytes);
      const std::string error = blocks[x].threads.start(
          kernel.run, arguments, {.block = {turns[x]}, .grid_x = shape.grid_x}, shape.threads,
          reinterpret_cast<char*>(blocks[x].shared.get()), order_);
      if (!error.empty()) return fail(ErrorCode::internal, "{}: {}", kernel.name, error);
    }
    // A thread that sees what it looked for may look for the next thing in the same turn.
    constexpr int kRoundsInVain = 100;
    for (int in_vain = 0; in_vain < kRoundsInVain;) {
      bool moved = false;
      bool are_done = true;
      for (Block& block : blocks) {
        if (block.threads.is_done()) continue;
        moved = block.threads.advance() || moved;
        if (!block.threads.error().empty())
          return fail(ErrorCode::internal, "{}: {}", kernel.name, block.threads.error());
        are_done = are_done && block.threads.is_done();
      }
      if (are_done) return {};
      in_vain = moved ? 0 : in_vain + 1;
    }
    for (const Block& block : blocks) {
      if (!block.threads.is_done())
        return fail(ErrorCode::internal, "{}: {}", kernel.name, block.threads.what_is_missing());
    }
    return {};
  }

  std::string name_;
  std::span<const EmulatedKernel> kernels_;
  ThreadOrder order_;
  int64_t shared_bytes_;
  EmulatedBlock block_;
  std::map<DeviceAddress, AlignedBytes> memory_;
  EmulatedSharing sharing_;
  std::unique_ptr<EmulatedGraph> recorded_;
  std::vector<std::chrono::steady_clock::time_point> times_;
};

}  // namespace

std::unique_ptr<Device> open_emulated_device(std::string_view name,
                                             std::span<const EmulatedKernel> kernels,
                                             ThreadOrder order) {
  return std::make_unique<EmulatedDevice>(name, kernels, order);
}

}  // namespace tetrad::gpu
