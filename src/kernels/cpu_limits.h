#pragma once

// What this machine can do at most: the figures that the speed of a kernel is to be compared with.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"

namespace tetrad {

struct LimitFigure {
  int threads = 1;
  double median = 0;
  double best = 0;
};

/// One limit, with a figure for 1, 2, … threads.
struct CpuLimit {
  std::string isa;  // of the loop that measured it
  std::vector<LimitFigure> by_threads;
};

/// GB are 10^9 bytes. A multiply-add is two operations.
struct CpuLimits {
  std::string cpu;               // cpu_model()
  int threads = 1;               // the most
  int64_t read_bytes = 0;        // what read_gb_per_s was measured over
  CpuLimit read_gb_per_s;        // from memory
  CpuLimit int8_gops;            // unsigned by signed into 32 bits
  CpuLimit bf16_gops;            // into float32
  CpuLimit f32_gops;             // fused
  CpuLimit byte_table_gb_per_s;  // bytes of a first-level cache looked up in a table of 16
};

/// Takes about 7 s for each number of threads. max_threads 0 stands for one for each processor.
/// Numbers of threads are all up to 8, then powers of two, then max_threads. Memory read is 1 GiB,
/// or a quarter of what is free; resource_exhausted where that is too little to tell memory from
/// caches.
Result<CpuLimits> measure_cpu_limits(int max_threads = 0);

/// The two limits that a model runs into, again and again beside other work: memory and clocks
/// change within seconds, so what is measured just before and after a run is what it can be
/// compared with. Each call takes a fifth of a second with all threads of the pool.
class CpuLimitProbe {
 public:
  /// Allocates what is read; errors as those of measure_cpu_limits.
  static Result<CpuLimitProbe> create(std::shared_ptr<ThreadPool> pool);
  CpuLimitProbe(CpuLimitProbe&& other) noexcept;
  CpuLimitProbe& operator=(CpuLimitProbe&& other) noexcept;
  ~CpuLimitProbe();

  double read_gb_per_s();
  double int8_gops();

 private:
  struct State;
  explicit CpuLimitProbe(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

/// The processor as the system names it, with family and model, because some names are many
/// processors'; "unknown" where the system does not say.
std::string cpu_model();

}  // namespace tetrad
