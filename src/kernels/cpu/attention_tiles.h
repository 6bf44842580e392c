#pragma once

// Attention of a batch on all threads: cut into tiles that the inner loops take one at a time, and
// tiles over a long context into splits of it.

#include <vector>

#include "base/thread_pool.h"
#include "kernels/batch.h"
#include "kernels/cpu/simd_kernels.h"
#include "kernels/kernels.h"

namespace tetrad {

class TiledAttention {
 public:
  /// With the fastest inner loops that this machine has and `simd` allows. Both must outlive this.
  TiledAttention(ThreadPool& pool, const SimdKernels& simd);
  /// With those of `e4m3` for E4M3 caches.
  TiledAttention(ThreadPool& pool, const SimdKernels& simd, const E4m3Attention& e4m3)
      : pool_(&pool), simd_(&simd), e4m3_(&e4m3) {}

  /// Kernels::attention
  void run(Activations q, const Batch& batch, const KvCacheLayer& cache, Activations out);

 private:
  using Attend = void (*)(const AttentionTile& tile);
  void attend_all(const std::vector<AttentionTile>& tiles, Attend attend);
  void attend_e4m3(const std::vector<AttentionTile>& tiles);

  /// body(i) for each i below count, on all threads if so many multiplications are worth it.
  template <class Body>
  void deal(size_t count, int64_t multiplications, const Body& body);

  ThreadPool* pool_;
  const SimdKernels* simd_;
  const E4m3Attention* e4m3_;
  std::vector<float> partials_;  // kept for its memory
};

}  // namespace tetrad
