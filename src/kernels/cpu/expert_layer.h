#pragma once

// The experts of a layer on all threads.

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/cpu/any_matmul.h"
#include "kernels/cpu/expert_groups.h"
#include "kernels/cpu/matmul_input.h"
#include "kernels/cpu/row_pieces.h"
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
  /// For a thread that has memory of its own.
  void compute_hidden(const ExpertWeights& weights, RowPiece piece, const RowPiece* next,
                      std::vector<float>& gate_memory, std::vector<float>& up_memory);
  /// The matrix, of w1, w3 or w2, that a piece belongs to.
  const WeightMatrix& expert_of(std::span<const WeightMatrix> experts, RowPiece piece) const;
  AnyMatMul::Next begin_of(std::span<const WeightMatrix> experts, const RowPiece* piece) const;
  void combine(const Routing& routing, Share columns, Activations down, Activations out) const;

  ThreadPool* pool_;
  const SimdKernels* simd_;
  const AnyMatMul* matmul_;

  // What a step leaves is kept for its memory. A slot is a pair of token and choice.
  ExpertGroups groups_;
  RowPieces pieces_;                  // of each group's expert
  Int8Rows inputs_int8_;              // [T]
  Int8Rows hidden_int8_;              // [slots]
  std::vector<float> hidden_, down_;  // [slots, intermediate_size], [slots, hidden_size]
  std::vector<const float*> input_rows_, hidden_rows_;
  std::vector<const Int8Block*> input_int8_rows_, hidden_int8_rows_;
  std::vector<std::vector<float>> gate_, up_;  // one for each thread
};

}  // namespace tetrad
