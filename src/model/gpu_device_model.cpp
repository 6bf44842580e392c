#include "model/gpu_device_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "model/rank_weights.h"
#include "parallel/agreement.h"
#include "plan/rank_share.h"

namespace tetrad {
namespace {

/// vLLM's default.
constexpr double kDefaultUtilization = 0.9;
/// Rows whose logits are computed at once: 64 of a vocabulary of 200,064 are 51 MB, on the device
/// and in page-locked memory.
constexpr int64_t kFewestLogitsRows = 64;
constexpr int64_t kMostLogitsRows = 256;
/// For what a driver takes while steps are computed: graphs, and what each allocation is rounded up
/// to.
constexpr int64_t kDriverReserve = int64_t{256} << 20;
/// Weights alone: no buffers, no cache.
constexpr GpuModelLimits kNoSteps{
    .max_num_batched_tokens = 0, .max_num_seqs = 0, .max_logits_rows = 0};

double gib_of(int64_t bytes) {
  return static_cast<double>(bytes) / (int64_t{1} << 30);
}

}  // namespace

/// What the engine computes with. Lets the next be started when it goes.
class GpuDeviceModel::Steps final : public StepModel {
 public:
  explicit Steps(GpuDeviceModel& owner) : owner_(owner) { owner_.is_started_ = true; }
  ~Steps() override { owner_.is_started_ = false; }
  Steps(const Steps&) = delete;
  Steps& operator=(const Steps&) = delete;

  Result<Activations> forward(const Batch& batch) override { return owner_.model_->forward(batch); }
  Result<void> start(const Batch& batch, std::span<const LogitsUse> uses) override {
    return owner_.model_->start(batch, uses);
  }
  Result<StepLogits> finish() override { return owner_.model_->finish(); }

 private:
  GpuDeviceModel& owner_;
};

namespace {

/// "the weights", or a rank's.
std::string name_of_weights(const plan::RankShare& share) {
  const int64_t ranks = share.layout.tensor_parallel;
  if (ranks == 1) return "the weights take";
  return fmt::format("the weights of rank {} of {} take", share.rank, ranks);
}

Result<GpuWeights> put_on_gpu(const WeightShare& cut, const plan::RankShare& share,
                              const gpu::DeviceInfo& info, gpu::GpuKernels& kernels,
                              GpuMemory& memory, const LoadProgress& progress) {
  const int64_t weight_bytes = cut.total_bytes();
  if (weight_bytes > info.free_bytes) {
    const bool is_alone = share.layout.tensor_parallel == 1;
    return fail(ErrorCode::resource_exhausted,
                "{} {:.1f} GiB, and {} has {:.1f} GiB free of {:.1f}; use {} with more memory, "
                "more of them (--tensor-parallel-size), or --device cpu",
                name_of_weights(share), gib_of(weight_bytes), info.name, gib_of(info.free_bytes),
                gib_of(info.total_bytes), is_alone ? "a GPU" : "GPUs");
  }
  return load_gpu_weights(cut, kernels, memory, progress);
}

}  // namespace

Result<std::unique_ptr<GpuDeviceModel>> GpuDeviceModel::load(
    const ModelConfig& config, const MiniMaxM2Weights& weights, std::vector<KvScales> kv_scales,
    std::unique_ptr<gpu::Device> device, gpu::GpuKernels kernels, const LoadProgress& progress,
    const GpuRanks* ranks, const DoneReading& done_reading) {
  const plan::RankShare share = share_among(config, ranks);
  TETRAD_TRY(GpuModel::check_config(GpuRankGroup::local_config(config, share)));
  TETRAD_ASSIGN(const gpu::DeviceInfo info, device->info());
  const WeightShare cut(weights, config, share, done_reading);
  auto memory = std::make_unique<GpuMemory>(*device);
  auto on_gpu = put_on_gpu(cut, share, info, kernels, *memory, progress);
  // None waits for one that will not come.
  if (ranks != nullptr) TETRAD_TRY(parallel::agree(*ranks->ranks, on_gpu));
  if (!on_gpu) return tl::unexpected(std::move(on_gpu.error()));
  // Buffers come with the first start().
  TETRAD_ASSIGN(auto model, GpuModel::create(config, std::move(device), kernels, std::move(memory),
                                             std::move(*on_gpu), kv_scales, kNoSteps, ranks));
  return std::unique_ptr<GpuDeviceModel>(new GpuDeviceModel(
      config, std::move(model), info, cut.total_bytes(), ranks == nullptr ? 1 : ranks->ranks_here));
}

GpuDeviceModel::GpuDeviceModel(const ModelConfig& config, std::unique_ptr<GpuModel> model,
                               const gpu::DeviceInfo& info, int64_t weight_bytes,
                               int64_t ranks_here)
    : config_(config),
      model_(std::move(model)),
      device_(info.name),
      kernels_(info.architecture),
      is_emulated_(info.architecture == "emulated"),
      weight_bytes_(weight_bytes),
      ranks_here_(ranks_here) {
  if (!is_emulated_) return;
  device_ = "emulated " + info.name;
  kernels_ = "emulated-" + info.name;
}

Result<GpuDeviceModel::Memory> GpuDeviceModel::make_buffers(const StepLimits& limits) {
  gpu::Device& device = model_->kernels().device();
  TETRAD_TRY(model_->resize(kNoSteps));
  TETRAD_ASSIGN(const gpu::DeviceInfo before, device.info());
  auto resized = model_->resize(
      {.max_num_batched_tokens = limits.max_num_batched_tokens,
       .max_num_seqs = limits.max_num_seqs,
       .max_logits_rows = std::clamp(limits.max_num_seqs, kFewestLogitsRows, kMostLogitsRows),
       .max_model_len = limits.max_model_len});
  if (!resized) {
    return fail(resized.error().code,
                "the buffers of a step of {} tokens do not fit beside the weights ({}); {}; {}",
                limits.max_num_batched_tokens, resized.error().message,
                describe({.total = before.total_bytes, .free = before.free_bytes}),
                limits.one_sequence ? "use shorter sequences"
                                    : "use a smaller --max-num-batched-tokens or --max-num-seqs");
  }
  TETRAD_ASSIGN(const gpu::DeviceInfo after, device.info());
  return Memory{
      .total = after.total_bytes,
      .free = std::max<int64_t>(after.free_bytes - (is_emulated_ ? 0 : kDriverReserve), 0),
      .buffers = std::max<int64_t>(before.free_bytes - after.free_bytes, 0)};
}

std::string GpuDeviceModel::describe(const Memory& memory) const {
  const int64_t others = memory.total - memory.free - memory.buffers - weight_bytes_;
  return fmt::format(
      "{} has {:.1f} GiB, of which {} {:.1f}, a step's buffers {:.1f}, and the "
      "driver and other programs {:.1f}",
      device_, gib_of(memory.total), name_of_weights(ranks().share()), gib_of(weight_bytes_),
      gib_of(memory.buffers), gib_of(std::max<int64_t>(others, 0)));
}

Result<int64_t> GpuDeviceModel::kv_cache_bytes(const StepLimits& limits, const KvMemory& wanted,
                                               const Memory& memory) const {
  if (wanted.bytes > memory.free) {
    const int64_t tokens = memory.free / kv_block_bytes() * kKvBlockSize;
    if (limits.one_sequence) {
      return fail(ErrorCode::resource_exhausted,
                  "the KV cache of a sequence of {} tokens takes {:.1f} GiB and does not fit: {}; "
                  "{:.1f} are left, which hold {} tokens",
                  limits.max_model_len, gib_of(wanted.bytes), describe(memory), gib_of(memory.free),
                  tokens);
    }
    return fail_param("--kv-cache-memory",
                      "a KV cache of {:.1f} GiB does not fit: {}; {:.1f} are left, which hold {} "
                      "tokens; ask for fewer with --kv-cache-memory or --max-model-len",
                      gib_of(wanted.bytes), describe(memory), gib_of(memory.free), tokens);
  }
  if (wanted.bytes > 0) return wanted.bytes;
  if (is_emulated_ && !wanted.utilization)
    return shared_kv_cache_bytes(limits, kv_block_bytes(), ranks_here_);
  const double utilization = wanted.utilization.value_or(kDefaultUtilization);
  const auto used = static_cast<double>(memory.total - memory.free);
  const double left = utilization * static_cast<double>(memory.total) - used;
  const auto needed = static_cast<double>(kv_blocks_for(limits.max_model_len) * kv_block_bytes());
  if (left >= needed) return static_cast<int64_t>(left);

  // What would be enough, for one sequence of full length or for shorter ones.
  const double enough = std::ceil((used + needed) / static_cast<double>(memory.total) * 100) / 100;
  const int64_t tokens_of_all = memory.free / kv_block_bytes() * kKvBlockSize;
  const auto tokens =
      std::max<int64_t>(static_cast<int64_t>(left) / kv_block_bytes() * kKvBlockSize, 0);
  std::string advice =
      enough <= 1 ? fmt::format("--gpu-memory-utilization {:.2f} would do", enough)
                  : fmt::format("with all of it --max-model-len {} would fit", tokens_of_all);
  if (tokens > 0) advice += fmt::format(", or --max-model-len {}", tokens);
  return fail_param(
      tokens > 0 ? "--max-model-len" : "--gpu-memory-utilization",
      "--gpu-memory-utilization {:.2f} leaves {:.2f} GiB for the KV cache, and one sequence of {} "
      "tokens takes {:.2f}: {}; {}",
      utilization, std::max(left, 0.0) / (1 << 30), limits.max_model_len, needed / (1 << 30),
      describe(memory), advice);
}

Result<StartedModel> GpuDeviceModel::start(const StepLimits& limits, const KvMemory& memory) {
  TETRAD_ASSIGN(const int64_t num_blocks, num_kv_blocks(limits, memory));
  return start_with(num_blocks);
}

Result<int64_t> GpuDeviceModel::num_kv_blocks(const StepLimits& limits, const KvMemory& memory) {
  if (is_started_) {
    return fail(ErrorCode::internal, "steps of this model are being computed on the GPU already");
  }
  TETRAD_ASSIGN(const Memory beside, make_buffers(limits));
  TETRAD_ASSIGN(const int64_t bytes, kv_cache_bytes(limits, memory, beside));
  return kv_blocks_in(bytes, limits.max_model_len, kv_block_bytes());
}

Result<StartedModel> GpuDeviceModel::start_with(int64_t num_kv_blocks) {
  auto allocated = model_->allocate_kv_cache(num_kv_blocks);
  if (!allocated) {
    return tl::unexpected(std::move(allocated.error())
                              .in(fmt::format("a KV cache of {:.2f} GiB on {}",
                                              gib_of(num_kv_blocks * kv_block_bytes()), device_)));
  }
  return StartedModel{.steps = std::make_unique<Steps>(*this), .num_kv_blocks = num_kv_blocks};
}

}  // namespace tetrad
