#pragma once

// The experts of a layer on all threads.

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/cpu/any_matmul.h"
#include "kernels/cpu/expert_groups.h"
#include "kernels/cpu/matmul_input.h"
#include "kernels/cpu/simd_kernels.h"
#include "kernels/kernels.h"

namespace tetrad {

class ExpertLayer {
 public:
  /// What is passed by reference must outlive this.
  ExpertLayer(ThreadPool& pool, const SimdKernels& simd, const AnyMatMul& matmul)
      : pool_(&pool), simd_(&simd), matmul_(&matmul) {}

  /// Kernels::experts
  void run(Activations x, const ExpertWeights& weights, const Routing& routing, Activations out);

 private:
  void run_tokens(Activations x, const ExpertWeights& weights, const Routing& routing,
                  Activations out);
  void compute_hidden(const ExpertWeights& weights, const ExpertGroups::Group& group, Share columns,
                      std::vector<float>& gate_memory, std::vector<float>& up_memory);
  void combine(const Routing& routing, Share columns, Activations down, Activations out) const;

  ThreadPool* pool_;
  const SimdKernels* simd_;
  const AnyMatMul* matmul_;

  // What a step leaves is kept for its memory. A slot is a pair of token and choice.
  ExpertGroups groups_;
  Int8Rows inputs_int8_;              // [T]
  Int8Rows hidden_int8_;              // [slots]
  std::vector<float> hidden_, down_;  // [slots, intermediate_size], [slots, hidden_size]
  std::vector<const float*> input_rows_, hidden_rows_;
  std::vector<const Int8Block*> input_int8_rows_, hidden_int8_rows_;
  std::vector<std::vector<float>> gate_, up_;  // one for each thread
};

}  // namespace tetrad
