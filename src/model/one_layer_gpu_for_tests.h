#pragma once

// For tests only: a model of one layer on the emulated GPU, and batches of made-up tokens.

#include <cstdint>
#include <memory>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "gpu/emulated_device.h"
#include "kernels/batch.h"
#include "kernels/gpu/emulated_kernels.h"
#include "model/gpu_batches_for_tests.h"
#include "model/gpu_model.h"
#include "model/synthetic_model.h"
#include "model/watched_device_for_tests.h"

namespace tetrad {

/// Random weights, always the same.
struct OneLayerGpu {
  /// `copies` must outlive this.
  OneLayerGpu(bool is_gfx12, int64_t vocab_size, const GpuModelLimits& limits,
              gpu::WatchedDevice::Copies& copies) {
    const ModelConfig config = synthetic_config({.layers = 1,
                                                 .experts = 8,
                                                 .vocab = vocab_size,
                                                 .hidden = 256,
                                                 .intermediate = 128,
                                                 .heads = 4,
                                                 .kv_heads = 2,
                                                 .head_dim = 64,
                                                 .experts_per_token = 2})
                                   .value();
    auto emulated = is_gfx12 ? gpu::open_emulated_device("gfx12", gpu::emulated_gfx12_kernels())
                             : gpu::open_emulated_device("nvidia", gpu::emulated_nvidia_kernels());
    auto watched = std::make_unique<gpu::WatchedDevice>(std::move(emulated), copies);
    device = watched.get();
    auto kernels = gpu::GpuKernels::create(*watched, gpu::GpuTuning{}).value();
    model = std::move(
        *GpuModel::create_random(config, 3, std::move(watched), std::move(kernels), limits));
  }

  std::unique_ptr<GpuModel> model;
  gpu::WatchedDevice* device = nullptr;
};

/// Has blocks and tokens of its own.
struct MadeUpSequence {
  MadeUpSequence(int32_t number_of_sequence, int32_t num_blocks)
      : number(number_of_sequence), blocks(static_cast<size_t>(num_blocks)) {
    std::iota(blocks.begin(), blocks.end(), number * num_blocks);
    // In no order, as a server's are.
    std::swap(blocks[0], blocks[3]);
  }
  int32_t number;
  std::vector<int32_t> blocks;
  int64_t computed = 0;
};

/// The next `count` tokens of each sequence, with logits of the last `num_logits` of them.
class MadeUpBatch {
 public:
  MadeUpBatch(std::span<const MadeUpSequence* const> sequences, int64_t count, int64_t vocab_size,
              int64_t num_logits = 1) {
    for (const MadeUpSequence* sequence : sequences)
      batch_.add(sequence->blocks, sequence->computed, count, num_logits, [&](int64_t position) {
        return static_cast<int32_t>((sequence->number * 37 + position * 101) % vocab_size);
      });
  }

  Batch batch() const { return batch_.batch(); }

 private:
  BatchOfSequences batch_;
};

}  // namespace tetrad
