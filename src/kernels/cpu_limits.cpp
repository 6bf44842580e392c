#include "kernels/cpu_limits.h"

#include <fmt/core.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <utility>

#include "base/clock.h"
#include "base/free_memory.h"
#include "base/page_memory.h"
#include "base/percentile.h"
#include "base/thread_pool.h"
#include "kernels/cpu/limit_kernels.h"

namespace tetrad {
namespace {

constexpr int64_t kMostReadBytes = int64_t{1} << 30;
constexpr int64_t kLeastReadBytes = int64_t{256} << 20;
constexpr int64_t kHugePage = int64_t{2} << 20;
/// Indices and table of a thread: half of a small first-level cache.
constexpr int64_t kIndexBytes = int64_t{16} << 10;

/// How long a figure is measured.
struct LimitEffort {
  int runs = 1;
  double seconds_of_run = 0;  // at least
};
constexpr LimitEffort kThorough = {.runs = 25, .seconds_of_run = 0.04};
constexpr LimitEffort kShort = {.runs = 5, .seconds_of_run = 0.02};

/// "<key> : <value>" or "<key>: <value>" in a file of the system; "" where there is none.
std::string system_field(const char* file, std::string_view key) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key)) continue;
    const size_t colon = line.find_first_not_of(" \t", key.size());
    if (colon == std::string::npos || line[colon] != ':') continue;
    const size_t value = line.find_first_not_of(" \t", colon + 1);
    return value == std::string::npos ? std::string() : line.substr(value);
  }
  return {};
}

}  // namespace

// Not in the namespace without a name, because CpuLimitProbe::State holds them.

/// What is read to measure.
class ReadBuffer {
 public:
  static Result<ReadBuffer> allocate(ThreadPool& pool) {
    const int64_t size = std::min(kMostReadBytes, free_memory() / 4 / kHugePage * kHugePage);
    if (size < kLeastReadBytes) {
      return fail(ErrorCode::resource_exhausted,
                  "measuring the speed of memory takes a quarter of the free memory, at least {} "
                  "MiB, but that is {} MiB: free some",
                  kLeastReadBytes >> 20, size >> 20);
    }
    auto pages = PageMemory::allocate(size);
    if (!pages) {
      return fail(ErrorCode::resource_exhausted, "cannot allocate {} MiB to read: {}", size >> 20,
                  std::strerror(errno));
    }
    ReadBuffer buffer(std::move(*pages));
    // Every thread's part is written by it: the memory then is its node's.
    pool.parallel_for(size, kHugePage, [&](int64_t begin, int64_t end, int thread) {
      std::memset(buffer.pages_.data() + begin, thread + 1, static_cast<size_t>(end - begin));
    });
    return buffer;
  }

  const unsigned char* data() const {
    return reinterpret_cast<const unsigned char*>(pages_.data());
  }
  int64_t size() const { return pages_.size(); }

 private:
  explicit ReadBuffer(PageMemory pages) : pages_(std::move(pages)) {}

  PageMemory pages_;
};

namespace {

/// What one thread does `repeats` times over; returns the loop's sum.
using LimitLoop = std::function<double(int thread, int64_t repeats)>;

double seconds_of_loop(const LimitLoop& loop, ThreadPool& pool, int64_t repeats) {
  const SteadyClock clock;
  std::atomic<double> kept = 0;  // what a loop computes is used
  const Seconds begin = clock.now();
  pool.run([&](int thread) { kept = loop(thread, repeats); });
  return (clock.now() - begin).count();
}

/// `per_repeat`: work of all threads together, in units of 10^9.
LimitFigure figure_of_loop(const LimitLoop& loop, ThreadPool& pool, double per_repeat,
                           const LimitEffort& effort) {
  int64_t repeats = 1;
  double seconds = seconds_of_loop(loop, pool, repeats);
  while (seconds < effort.seconds_of_run / 4) {
    repeats *= 2;
    seconds = seconds_of_loop(loop, pool, repeats);
  }
  const double more = std::ceil(effort.seconds_of_run / seconds);
  repeats = static_cast<int64_t>(static_cast<double>(repeats) * std::max(more, 1.0));
  std::vector<double> speeds(static_cast<size_t>(effort.runs));
  for (double& speed : speeds)
    speed = per_repeat * static_cast<double>(repeats) / seconds_of_loop(loop, pool, repeats);
  return {
      .threads = pool.num_threads(), .median = median_of(speeds), .best = std::ranges::max(speeds)};
}

LimitFigure read_figure(const LimitKernels& kernels, const ReadBuffer& buffer, ThreadPool& pool,
                        const LimitEffort& effort) {
  constexpr int64_t kGrain = kReadStreams * kReadUnit;
  const int64_t part = buffer.size() / pool.num_threads() / kGrain * kGrain;
  const LimitLoop loop = [&](int thread, int64_t repeats) {
    uint64_t sum = 0;
    for (int64_t repeat = 0; repeat < repeats; ++repeat)
      sum += kernels.read(buffer.data() + thread * part, part / kReadStreams);
    return static_cast<double>(sum);
  };
  return figure_of_loop(loop, pool, static_cast<double>(part) * pool.num_threads() / 1e9, effort);
}

LimitFigure look_up_figure(const LimitKernels& kernels, ThreadPool& pool) {
  const LimitLoop loop = [&](int thread, int64_t repeats) {
    std::array<unsigned char, 16> table;
    for (size_t i = 0; i < table.size(); ++i)
      table[i] = static_cast<unsigned char>(37 * i + 11);
    alignas(64) std::array<unsigned char, kIndexBytes> indices;  // no load crosses a line
    for (size_t i = 0; i < indices.size(); ++i)
      indices[i] = static_cast<unsigned char>((i * i / 7 + static_cast<size_t>(thread)) % 64);
    return static_cast<double>(kernels.look_up(table.data(), indices.data(), kIndexBytes, repeats));
  };
  return figure_of_loop(loop, pool, static_cast<double>(kIndexBytes) * pool.num_threads() / 1e9,
                        kThorough);
}

}  // namespace

/// Operands whose sums neither overflow a float nor are all zero.
struct ProductOperands {
  alignas(64) std::array<unsigned char, kMaxProductRows * kMaxProductBytes> a;
  alignas(64) std::array<unsigned char, kMaxProductRows * kMaxProductBytes> b;

  template <class Element>
  static ProductOperands of(Element a, Element b) {
    ProductOperands operands;
    for (size_t at = 0; at < operands.a.size(); at += sizeof(Element)) {
      std::memcpy(operands.a.data() + at, &a, sizeof a);
      std::memcpy(operands.b.data() + at, &b, sizeof b);
    }
    return operands;
  }
};

namespace {

LimitFigure product_figure(const ProductKernel& kernel, const ProductOperands& operands,
                           int64_t element_bytes, ThreadPool& pool, const LimitEffort& effort) {
  const LimitLoop loop = [&](int, int64_t repeats) {
    return kernel.run(operands.a.data(), operands.b.data(), repeats);
  };
  const int64_t multiplies = kernel.a_rows * kernel.b_rows * kernel.vector_bytes / element_bytes;
  return figure_of_loop(loop, pool,
                        2.0 * static_cast<double>(multiplies) * pool.num_threads() / 1e9, effort);
}

ProductOperands int8_operands() {
  return ProductOperands::of<unsigned char>(101, 0x9D);
}

std::vector<int> numbers_of_threads(int most) {
  std::vector<int> numbers;
  for (int threads = 1; threads < most; threads < 8 ? ++threads : threads *= 2)
    numbers.push_back(threads);
  numbers.push_back(most);
  return numbers;
}

}  // namespace

std::string cpu_model() {
  constexpr const char* kFile = "/proc/cpuinfo";
  const std::string name = system_field(kFile, "model name");
  if (name.empty()) return "unknown";
  return fmt::format("{} (family {}, model {})", name, system_field(kFile, "cpu family"),
                     system_field(kFile, "model"));
}

Result<CpuLimits> measure_cpu_limits(int max_threads) {
  const LimitKernels& kernels = **available_limit_kernels();
  ThreadPool all(max_threads);
  TETRAD_ASSIGN(const ReadBuffer buffer, ReadBuffer::allocate(all));
  const ProductOperands int8 = int8_operands();
  const auto bf16 = ProductOperands::of<uint16_t>(0x3F81, 0xBE83);
  const auto f32 = ProductOperands::of<float>(1.01f, -0.26f);

  CpuLimits limits{.cpu = cpu_model(),
                   .threads = all.num_threads(),
                   .read_bytes = buffer.size(),
                   .read_gb_per_s = {.isa = kernels.isa},
                   .int8_gops = {.isa = kernels.int8.isa},
                   .bf16_gops = {.isa = kernels.bf16.isa},
                   .f32_gops = {.isa = kernels.f32.isa},
                   .byte_table_gb_per_s = {.isa = kernels.isa}};
  for (const int threads : numbers_of_threads(all.num_threads())) {
    ThreadPool pool(threads);
    limits.read_gb_per_s.by_threads.push_back(read_figure(kernels, buffer, pool, kThorough));
    limits.int8_gops.by_threads.push_back(product_figure(kernels.int8, int8, 1, pool, kThorough));
    limits.bf16_gops.by_threads.push_back(product_figure(kernels.bf16, bf16, 2, pool, kThorough));
    limits.f32_gops.by_threads.push_back(product_figure(kernels.f32, f32, 4, pool, kThorough));
    limits.byte_table_gb_per_s.by_threads.push_back(look_up_figure(kernels, pool));
  }
  return limits;
}

struct CpuLimitProbe::State {
  std::shared_ptr<ThreadPool> pool;
  ReadBuffer buffer;
  ProductOperands int8 = int8_operands();
};

CpuLimitProbe::CpuLimitProbe(std::unique_ptr<State> state) : state_(std::move(state)) {}
CpuLimitProbe::CpuLimitProbe(CpuLimitProbe&& other) noexcept = default;
CpuLimitProbe& CpuLimitProbe::operator=(CpuLimitProbe&& other) noexcept = default;
CpuLimitProbe::~CpuLimitProbe() = default;

Result<CpuLimitProbe> CpuLimitProbe::create(std::shared_ptr<ThreadPool> pool) {
  TETRAD_ASSIGN(ReadBuffer buffer, ReadBuffer::allocate(*pool));
  return CpuLimitProbe(
      std::unique_ptr<State>(new State{.pool = std::move(pool), .buffer = std::move(buffer)}));
}

double CpuLimitProbe::read_gb_per_s() {
  return read_figure(**available_limit_kernels(), state_->buffer, *state_->pool, kShort).median;
}

double CpuLimitProbe::int8_gops() {
  const ProductKernel& kernel = (*available_limit_kernels())->int8;
  return product_figure(kernel, state_->int8, 1, *state_->pool, kShort).median;
}

}  // namespace tetrad
