#pragma once

// The ranks that compute one model on GPUs, as its forward pass sees them (rank_group.h is that of
// the CPU). A rank alone asks nobody.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "checkpoint/config.h"
#include "collectives/device_communicator.h"
#include "parallel/communicator.h"
#include "plan/rank_share.h"

namespace tetrad {

/// Other ranks, each with a share of the model on a GPU of its own. All are given the same batches.
struct GpuRanks {
  std::shared_ptr<parallel::Communicator> ranks;
  plan::Layout layout;
  collectives::CommunicatorOptions options;
  int64_t ranks_here = 1;  // that share this machine's memory, where a GPU is emulated
  /// Tokens from which on each rank routes some of them, not all: what it saves must be worth two
  /// messages.
  int64_t least_shared_tokens = 512;
};

/// What a rank holds among `others`, or of the whole model where there are none.
plan::RankShare share_among(const ModelConfig& config, const GpuRanks* others);

class GpuRankGroup {
 public:
  /// One rank that has the whole model.
  explicit GpuRankGroup(const ModelConfig& config);
  /// One of `others`, or of one rank as if it were alone. `kernels` must outlive it. Errors:
  /// invalid_argument, where the layout is of another number of ranks; what
  /// make_device_communicator says.
  static Result<GpuRankGroup> join(const ModelConfig& config, const GpuRanks& others,
                                   gpu::GpuKernels& kernels);

  /// Whether a machine with the GPU of `info` has one for each of the `ranks_here` that compute on
  /// it, of `ranks` in all; an emulated one is made for each. Errors: --tensor-parallel-size.
  static Result<void> check_gpus(const gpu::DeviceInfo& info, int64_t ranks, int64_t ranks_here);

  /// The whole model's sizes as a rank's kernels see them: its heads, KV heads and columns of
  /// experts. Vocabulary and number of experts are the whole ones.
  static ModelConfig local_config(const ModelConfig& config, const plan::RankShare& share);

  bool is_alone() const { return communicator_ == nullptr; }
  const plan::RankShare& share() const { return share_; }
  /// Of all ranks together.
  int64_t q_size() const { return q_size_; }
  int64_t kv_size() const { return kv_size_; }
  /// The most tokens that a rank has logits of.
  int64_t vocabulary_width() const;
  /// "" alone; "peer memory".
  std::string_view transport() const { return is_alone() ? "" : communicator_->name(); }
  /// Why it is that one, and whether it adds in the order of the ranks: collectives.
  const std::string& transport_reason() const { return transport_reason_; }
  bool adds_in_rank_order() const { return is_alone() || communicator_->adds_in_rank_order(); }

  /// Whether this rank brings what is there already to a sum of what all add to it.
  bool brings_residual() const { return share_.rank == 0; }

  /// values = their sum over the ranks. Nothing alone; after an error nothing more.
  void sum(float* values, int64_t count);
  /// args.squares = their sums over the ranks. Nothing alone.
  void sum_qk_squares(gpu::GpuKernels& kernels, const gpu::QkSquaresArgs& args, int64_t num_tokens);
  /// Of a step's tokens, those that this rank routes: all alone, of few tokens, and where ranks
  /// have different experts, since a choice says which of them are here.
  plan::Range routed_tokens(int64_t num_tokens) const;
  /// all: [num_tokens, per_token] words of four bytes, of which each rank has made those of its
  /// routed_tokens(), and afterwards all ranks have all. Room for ceil_div(num_tokens, ranks)
  /// tokens of each rank.
  void gather_routed(uint32_t* all, int64_t num_tokens, int64_t per_token);
  /// part: [rows, vocabulary_width()], logits: [rows, vocab_size]
  void gather_logits(const float* part, int64_t rows, float* logits);
  /// The first error of these since the last call.
  Result<void> status();
  /// Waits for the device, and says what DeviceCommunicator::wait() does.
  Result<void> wait(gpu::Device& device);
  /// See DeviceCommunicator::give_up. Of any thread.
  void give_up() const {
    if (!is_alone()) communicator_->give_up();
  }
  /// From here on nothing more is asked of the others, who may wait for that.
  void leave();

 private:
  bool shares_routing(int64_t num_tokens) const;
  GpuRankGroup(const ModelConfig& config, const plan::RankShare& share);

  std::shared_ptr<parallel::Communicator> ranks_;                  // outlives what it introduced
  std::unique_ptr<collectives::DeviceCommunicator> communicator_;  // null: alone
  std::string transport_reason_;
  plan::RankShare share_;
  int64_t q_size_;
  int64_t kv_size_;
  int64_t vocab_size_;
  int64_t least_shared_tokens_ = 0;
  Result<void> status_;
};

}  // namespace tetrad
