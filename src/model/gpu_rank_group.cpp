#include "model/gpu_rank_group.h"

#include <algorithm>
#include <utility>

#include "base/integer_math.h"

namespace tetrad {

plan::RankShare share_among(const ModelConfig& config, const GpuRanks* others) {
  return others == nullptr ? plan::rank_share(config, {}, 0)
                           : plan::rank_share(config, others->layout, others->ranks->rank());
}

GpuRankGroup::GpuRankGroup(const ModelConfig& config)
    : GpuRankGroup(config, share_among(config, nullptr)) {}

GpuRankGroup::GpuRankGroup(const ModelConfig& config, const plan::RankShare& share)
    : share_(share),
      q_size_(config.q_size()),
      kv_size_(config.kv_size()),
      vocab_size_(config.vocab_size) {}

Result<GpuRankGroup> GpuRankGroup::join(const ModelConfig& config, const GpuRanks& others,
                                        gpu::GpuKernels& kernels) {
  if (others.ranks->size() != others.layout.tensor_parallel)
    return fail_param("--tensor-parallel-size",
                      "--tensor-parallel-size {}: there are {} ranks to share the model",
                      others.layout.tensor_parallel, others.ranks->size());
  if (others.ranks->size() == 1) return GpuRankGroup(config);
  GpuRankGroup group(config, share_among(config, &others));
  group.ranks_ = others.ranks;
  group.least_shared_tokens_ = others.least_shared_tokens;
  TETRAD_ASSIGN(auto made,
                collectives::make_device_communicator(kernels, *others.ranks, others.options));
  group.communicator_ = std::move(made.communicator);
  group.transport_reason_ = std::move(made.reason);
  return group;
}

Result<void> GpuRankGroup::check_gpus(const gpu::DeviceInfo& info, int64_t ranks,
                                      int64_t ranks_here) {
  if (info.architecture == "emulated" || info.num_devices >= ranks_here) return {};
  return fail_param("--tensor-parallel-size",
                    "--tensor-parallel-size {}: this machine has {} GPU{} ({}) for its {} ranks, "
                    "and each needs one of its own; say --tensor-parallel-size {}, or show this "
                    "process more of them (CUDA_VISIBLE_DEVICES, HIP_VISIBLE_DEVICES)",
                    ranks, info.num_devices, info.num_devices == 1 ? "" : "s", info.name,
                    ranks_here, info.num_devices);
}

ModelConfig GpuRankGroup::local_config(const ModelConfig& config, const plan::RankShare& share) {
  ModelConfig local = share.local_config(config);
  local.intermediate_size = share.expert_columns.size();
  return local;
}

int64_t GpuRankGroup::vocabulary_width() const {
  return ceil_div(vocab_size_, share_.layout.tensor_parallel);
}

void GpuRankGroup::sum(float* values, int64_t count) {
  if (is_alone() || !status_) return;
  status_ = communicator_->all_reduce_sum(reinterpret_cast<gpu::DeviceAddress>(values), count);
}

void GpuRankGroup::sum_qk_squares(gpu::GpuKernels& kernels, const gpu::QkSquaresArgs& args,
                                  int64_t num_tokens) {
  if (is_alone() || !status_) return;
  const auto is_done = communicator_->try_all_reduce_qk_squares(args, num_tokens);
  if (!is_done) {
    status_ = tl::unexpected<Error>(is_done.error());
    return;
  }
  if (*is_done) return;
  kernels.qk_squares(args, static_cast<uint32_t>(num_tokens));
  sum(args.squares, 2 * num_tokens);
}

bool GpuRankGroup::shares_routing(int64_t num_tokens) const {
  return !is_alone() && !share_.layout.expert_parallel && num_tokens >= least_shared_tokens_;
}

plan::Range GpuRankGroup::routed_tokens(int64_t num_tokens) const {
  if (!shares_routing(num_tokens)) return {0, num_tokens};
  const int64_t each = ceil_div(num_tokens, share_.layout.tensor_parallel);
  return {std::min(num_tokens, share_.rank * each), std::min(num_tokens, (share_.rank + 1) * each)};
}

void GpuRankGroup::gather_routed(uint32_t* all, int64_t num_tokens, int64_t per_token) {
  if (!shares_routing(num_tokens) || !status_) return;
  // It copies, whatever the words are; as many of each rank, since NCCL can no other.
  const int64_t ranks = share_.layout.tensor_parallel;
  const int64_t each = ceil_div(num_tokens, ranks) * per_token;
  status_ =
      communicator_->all_gather(reinterpret_cast<gpu::DeviceAddress>(all + share_.rank * each), 1,
                                each, reinterpret_cast<gpu::DeviceAddress>(all), ranks * each);
}

void GpuRankGroup::gather_logits(const float* part, int64_t rows, float* logits) {
  if (!status_) return;
  status_ = communicator_->all_gather(reinterpret_cast<gpu::DeviceAddress>(part), rows,
                                      vocabulary_width(),
                                      reinterpret_cast<gpu::DeviceAddress>(logits), vocab_size_);
}

Result<void> GpuRankGroup::status() {
  return std::exchange(status_, {});
}

Result<void> GpuRankGroup::wait(gpu::Device& device) {
  return is_alone() ? device.synchronize() : communicator_->wait();
}

void GpuRankGroup::leave() {
  communicator_ = nullptr;
  ranks_ = nullptr;
}

}  // namespace tetrad
