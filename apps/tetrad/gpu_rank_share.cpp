#include "gpu_rank_share.h"

#include <utility>

#include "base/log.h"
#include "gpu_device_flag.h"
#include "load_progress.h"
#include "model/rank_agreement.h"
#include "parallel/agreement.h"

namespace tetrad {
namespace {

/// "GPU 1, NVIDIA H200 0000:1B:00.0"; emulated ones have no number.
std::string name_of_gpu(const gpu::DeviceInfo& info) {
  if (info.architecture == "emulated") return info.name;
  return fmt::format("GPU {}, {} {}", info.index, info.name, info.bus_id);
}

/// Opened, and what is to be known of it.
struct RankGpu {
  std::unique_ptr<gpu::Device> device;
  gpu::GpuKernels kernels;
  gpu::DeviceInfo info;
};

Result<RankGpu> prepare_gpu(const ModelFlags& flags, Result<std::unique_ptr<gpu::Device>> opened) {
  TETRAD_ASSIGN(auto device, std::move(opened));
  TETRAD_ASSIGN(gpu::GpuKernels kernels, find_gpu_kernels(*device, flags.gpu_tuning));
  TETRAD_ASSIGN(gpu::DeviceInfo info, device->info());
  return RankGpu{std::move(device), std::move(kernels), std::move(info)};
}

}  // namespace

Result<std::unique_ptr<gpu::Device>> open_gpu_of_rank(const ModelFlags& flags,
                                                      const GpuRankPlace& place) {
  TETRAD_ASSIGN(auto device, open_gpu_device(flags.device, place.gpu));
  TETRAD_ASSIGN(const gpu::DeviceInfo info, device->info());
  TETRAD_TRY(GpuRankGroup::check_gpus(info, flags.ranks.tensor_parallel_size, place.ranks_here));
  return device;
}

Result<GpuRankShare> load_gpu_rank(const ModelFlags& flags,
                                   const std::shared_ptr<const Checkpoint>& checkpoint,
                                   const std::shared_ptr<parallel::Communicator>& ranks,
                                   const GpuRankPlace& place,
                                   Result<std::unique_ptr<gpu::Device>> device) {
  auto prepared = prepare_gpu(flags, std::move(device));
  const Result<void> all_prepared = parallel::agree(*ranks, prepared);
  TETRAD_ASSIGN(RankGpu gpu, std::move(prepared));
  TETRAD_TRY(all_prepared);
  log::info("rank {} computes on {} ({}, driver {}), {:.1f} GiB of memory", ranks->rank(),
            name_of_gpu(gpu.info), gpu.info.architecture, gpu.info.driver,
            static_cast<double>(gpu.info.total_bytes) / (1 << 30));
  const bool is_first = ranks->rank() == 0;
  // Views, which read nothing but the norms.
  TETRAD_ASSIGN(const MiniMaxM2Weights whole, MiniMaxM2Weights::load(*checkpoint));
  GpuRankShare share;
  TETRAD_ASSIGN(share.kv_cache, kv_cache_format(flags, whole.kv_scales, is_first));
  const std::string arithmetic =
      gpu.info.architecture == "emulated" ? flags.device : gpu.info.architecture;
  TETRAD_TRY(agree_on_model(*ranks, {.checkpoint = *checkpoint,
                                     .weights = whole,
                                     .layout = flags.ranks.layout(),
                                     .arithmetic = arithmetic,
                                     .transport = flags.ranks.transport,
                                     .kv_cache = share.kv_cache}));
  TETRAD_ASSIGN(const collectives::Transport transport,
                collectives::parse_transport(flags.ranks.transport));
  const GpuRanks group{.ranks = ranks,
                       .layout = flags.ranks.layout(),
                       .options = {.transport = transport, .deadline = place.deadline},
                       .ranks_here = place.ranks_here};
  LoadProgressPrinter progress;
  LoadProgress show;
  if (is_first) show = [&](int64_t done, int64_t total) { progress.show(done, total); };
  TETRAD_ASSIGN(auto model, GpuDeviceModel::load(checkpoint->config(), whole, share.kv_cache.scales,
                                                 std::move(gpu.device), gpu.kernels, show, &group,
                                                 [&](std::span<const std::byte> part) {
                                                   checkpoint->release(part);
                                                 }));
  if (is_first) progress.finish();
  share.model = std::make_unique<GpuRankModel>(std::move(model), ranks);
  return share;
}

}  // namespace tetrad
