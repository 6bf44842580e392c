#pragma once

// For tests only: the model that comes with the repository, on an emulated GPU.

#include <memory>
#include <utility>

#include "checkpoint/checkpoint.h"
#include "engine/bundled_model.h"
#include "gpu/emulated_device.h"
#include "kernels/gpu/emulated_kernels.h"
#include "model/gpu_device_model.h"
#include "model/kv_cache_format.h"
#include "model/minimax_m2.h"

namespace tetrad {

struct BundledWeights {
  std::shared_ptr<const Checkpoint> checkpoint;
  ModelConfig config;
  MiniMaxM2Weights weights;
  KvCacheFormat kv_cache;
};

/// The bundled model's first layers: an emulated one takes its time.
inline BundledWeights bundled_weights(int64_t num_layers) {
  BundledWeights bundled;
  bundled.checkpoint =
      std::make_shared<const Checkpoint>(Checkpoint::open(bundled_model()).value());
  bundled.config = bundled.checkpoint->config();
  bundled.config.num_hidden_layers = num_layers;
  bundled.weights = MiniMaxM2Weights::load(*bundled.checkpoint).value();
  bundled.weights.layers.resize(static_cast<size_t>(num_layers));
  bundled.weights.kv_scales.layers.resize(static_cast<size_t>(num_layers));
  bundled.kv_cache = {
      DType::f8_e4m3,
      resolve_kv_scales(bundled.weights.kv_scales, DType::f8_e4m3, std::nullopt).value()};
  return bundled;
}

inline std::unique_ptr<gpu::Device> emulated(bool is_gfx12) {
  return gpu::open_emulated_device(
      is_gfx12 ? "gfx12" : "nvidia",
      is_gfx12 ? gpu::emulated_gfx12_kernels() : gpu::emulated_nvidia_kernels());
}

inline Result<std::unique_ptr<GpuDeviceModel>> load_on(std::unique_ptr<gpu::Device> device,
                                                       const BundledWeights& bundled,
                                                       const LoadProgress& progress = {}) {
  const gpu::GpuKernels kernels = gpu::GpuKernels::create(*device).value();
  return GpuDeviceModel::load(bundled.config, bundled.weights, bundled.kv_cache.scales,
                              std::move(device), kernels, progress);
}

}  // namespace tetrad
