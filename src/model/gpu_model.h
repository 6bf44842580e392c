#pragma once

// MiniMax-M2 on a GPU: the same forward pass as minimax_m2.h, in the launches that its kernels are
// made for. A step of one token for each of a few sequences is recorded as a graph when it comes
// again, and replayed from then on.

#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "checkpoint/kv_scales.h"
#include "gpu/device.h"
#include "kernels/batch.h"
#include "kernels/gpu/gpu_kernels.h"
#include "kernels/kernels.h"
#include "model/gpu_logits.h"
#include "model/gpu_rank_group.h"
#include "model/gpu_step_inputs.h"
#include "model/gpu_weights.h"
#include "model/graph_cache.h"
#include "model/step_logits.h"

namespace tetrad {

struct GpuModelLimits {
  int64_t num_kv_blocks = 0;
  int64_t max_num_batched_tokens = 2048;
  int64_t max_num_seqs = 64;
  /// Rows whose logits are computed at once; more are computed in pieces of so many, in finish().
  int64_t max_logits_rows = 64;
  int64_t max_model_len = 0;
};

class GpuModel {
 public:
  /// Takes the weights' memory over. `kv_scales`: one for each layer. With other `ranks`: `config`
  /// is the whole model's, the weights are of this rank's share (share_weights), and all ranks must
  /// come. Errors: unsupported, for sizes that the kernels do not take; resource_exhausted, with
  /// what was asked for; what GpuRankGroup::join says.
  static Result<std::unique_ptr<GpuModel>> create(
      const ModelConfig& config, std::unique_ptr<gpu::Device> device, gpu::GpuKernels kernels,
      std::unique_ptr<GpuMemory> memory, GpuWeights weights, std::span<const KvScales> kv_scales,
      const GpuModelLimits& limits, const GpuRanks* ranks = nullptr);
  /// Of random weights (make_random_gpu_weights), with KV scales of 1; with other `ranks` of a
  /// share of them.
  static Result<std::unique_ptr<GpuModel>> create_random(const ModelConfig& config, uint32_t seed,
                                                         std::unique_ptr<gpu::Device> device,
                                                         gpu::GpuKernels kernels,
                                                         const GpuModelLimits& limits,
                                                         const GpuRanks* ranks = nullptr);
  ~GpuModel();
  /// Whether the kernels take a model of these sizes. Errors: unsupported.
  static Result<void> check_config(const ModelConfig& config);

  /// Frees buffers and KV cache and makes buffers for steps within other limits, and a cache of
  /// limits.num_kv_blocks. Errors: resource_exhausted, after which this must be called again.
  Result<void> resize(const GpuModelLimits& limits);
  /// Adds a KV cache where there is none, or of no blocks.
  Result<void> allocate_kv_cache(int64_t num_kv_blocks);

  /// Bytes one block of the cache takes over all layers.
  static int64_t kv_block_bytes(const ModelConfig& config);

  /// Computes one batch: logits of batch.logits_rows, [rows, vocab_size] in host memory, valid
  /// until the next call. Errors: invalid_argument for a batch beyond the limits; what the driver
  /// says.
  Result<Activations> forward(const Batch& batch);
  /// The same in two parts, as StepModel has them: of the logits what `uses` ask for, or whole rows
  /// where there are none. The batch may go before the step is finished.
  Result<void> start(const Batch& batch, std::span<const LogitsUse> uses);
  Result<StepLogits> finish();

  /// Whether a row of the last step's logits can be brought without the other ranks.
  bool has_row(int64_t row) const { return logits_->has_row(row); }

  /// As this rank's kernels see it.
  const ModelConfig& config() const { return config_; }
  const GpuRankGroup& ranks() const { return ranks_; }
  gpu::GpuKernels& kernels() { return kernels_; }
  /// Tokens from which the experts' weights come by themselves (experts_stream.h); ~0: on this
  /// machine, with these sizes, they never do.
  uint32_t least_streamed_tokens() const;
  const GpuModelLimits& limits() const { return limits_; }
  /// Without graphs each launch can be timed.
  void set_use_graphs(bool use) { use_graphs_ = use; }

  /// Seconds a step takes on the device, inputs and logits not copied: one of `count` in a row,
  /// replayed as a graph, with the kernels' choices of now. Errors: as forward();
  /// resource_exhausted for more rows of logits than are computed at once.
  Result<double> time_step(const Batch& batch, int count);

 private:
  struct Buffers;

  GpuModel(const ModelConfig& config, std::unique_ptr<gpu::Device> device, gpu::GpuKernels kernels,
           std::unique_ptr<GpuMemory> memory, GpuWeights weights, const GpuModelLimits& limits);

  Result<void> allocate(std::span<const KvScales> kv_scales);
  Result<void> allocate_activations();
  Result<void> allocate_attention();
  /// Cosines and sines for all positions.
  Result<void> copy_rotation();
  Result<void> copy_inputs(const Batch& batch, std::span<const LogitsUse> uses);
  Result<void> enqueue_step(std::span<const LogitsUse> uses);
  /// The launches of a step; what they compute on is what copy_inputs() left.
  void enqueue();
  const GpuStepShape& shape() const { return inputs_->shape(); }
  /// Those that make logits of rows first … first + count - 1 of shape().num_logits.
  void enqueue_logits(uint32_t first, uint32_t count);
  /// The same, and what is to be known of the rows.
  void enqueue_told_logits(uint32_t first, uint32_t count);
  /// All launches of a step whose rows of logits fit at once; replay() by a graph if there is one.
  Result<void> compute();
  Result<void> replay();
  /// The logits of one whose rows do not, piece by piece.
  Result<void> compute_many_logits();
  /// Of one row of the last step, as row 0 on the device; by all ranks.
  Result<void> recompute_logits(uint32_t row);
  bool has_many_logits() const { return shape().num_logits > logits_->rows_at_once(); }
  /// time_step() without its end, which is the same after an error.
  Result<double> time_replays(const Batch& batch, int count);
  void decoder_layer(size_t index);
  void attention(size_t index);
  /// Of these sequences, and of those with several tokens; nothing but in a profile.
  gpu::AttentionWork attention_work(std::span<const int32_t> sequences) const;
  gpu::AttentionWork prefill_work() const;
  void experts(const GpuLayer& layer);
  gpu::ExpertCount experts_here() const;
  /// The choice that the experts of a step's tokens are found by. Of few tokens the experts' first
  /// kernel makes it.
  gpu::ExpertChoice expert_choice(const GpuLayer& layer) const;
  /// What both of these have.
  template <class Args>
  Args experts_in_one_launch(const GpuLayer& layer, const gpu::ExpertChoice& choice) const;
  /// For one token alone.
  gpu::ExpertsOfOneArgs experts_of_one(const GpuLayer& layer,
                                       const gpu::ExpertChoice& choice) const;
  /// For a few tokens.
  gpu::ExpertsStreamArgs experts_stream(const GpuLayer& layer,
                                        const gpu::ExpertChoice& choice) const;
  /// Where blocks of one launch tell each other hidden values.
  uint32_t* told_hidden() const;
  /// The norm of each token, and who computes it. `num_told_words`: of told_hidden(), if the
  /// experts' launch tells them.
  void route(const GpuLayer& layer, const gpu::ExpertChoice& choice, uint32_t num_told_words);
  /// Of few tokens, each by itself, with the sum over the picks; of many, in tiles of those of an
  /// expert, without.
  void experts_by_token(const GpuLayer& layer, const gpu::ExpertChoice& choice);
  void experts_by_tile(const GpuLayer& layer, const gpu::ExpertChoice& choice,
                       const gpu::TokenTiles& tiles);
  /// residual (+)= the sum over the picks.
  void combine_experts();
  /// out[t] = W norm(residual[t]), for args.num_tokens rows; otherwise as product(), but that x is
  /// made here.
  void norm_product(const float* residual, const float* norm, gpu::GemmArgs args,
                    float* square_sums = nullptr);
  /// A product by the kernel for so many tokens. Where wanted, also the sums of the squares of each
  /// 16 of W x[t].
  void product(const gpu::GemmArgs& args, float* square_sums = nullptr);
  /// residual = the sum of what the ranks have of it: rank 0 it and its own part, the others
  /// theirs.
  void sum_residual();
  /// 1 where a product adds to what stands in the residual, 0 where that is another rank's to
  /// bring.
  uint32_t adds_to_residual() const;
  /// The same arguments with the levels that the codes of all weights stand for.
  template <class Args>
  Args with_codebook(Args args) const;

  ModelConfig config_;
  std::unique_ptr<gpu::Device> device_;
  gpu::GpuKernels kernels_;
  GpuRankGroup ranks_;
  std::unique_ptr<GpuMemory> memory_;  // of the weights
  std::unique_ptr<GpuMemory> step_memory_;
  std::unique_ptr<GpuMemory> cache_memory_;
  GpuWeights weights_;
  GpuModelLimits limits_;
  std::unique_ptr<GpuStepInputs> inputs_;
  std::unique_ptr<Buffers> buffers_;
  std::unique_ptr<GpuLogits> logits_;
  bool use_graphs_ = true;
  GraphCache<GpuStepShape> graphs_;
};

}  // namespace tetrad
