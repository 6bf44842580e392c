#include "model/gpu_weight_bytes.h"

#include <algorithm>

#include "kernels/gpu/packed_matrix.h"

namespace tetrad {
namespace {

int64_t code_bytes(int64_t rows, int64_t cols) {
  return static_cast<int64_t>(gpu::packed_bytes(gpu::TileFormat::codes, static_cast<uint32_t>(rows),
                                                static_cast<uint32_t>(cols)));
}

double gigabytes(int64_t bytes) {
  return static_cast<double>(bytes) * 1e-9;
}

}  // namespace

GpuWeightBytes gpu_weight_bytes(const ModelConfig& config, const plan::RankShare& share) {
  const int64_t hidden = config.hidden_size;
  const int64_t width = share.expert_columns.size();
  const int64_t q_size = share.heads.size() * config.head_dim;
  const int64_t kv_size = share.kv_heads.size() * config.head_dim;
  const int64_t tokens = share.vocabulary.size();
  return {.projections = code_bytes(q_size + 2 * kv_size, hidden) + code_bytes(hidden, q_size),
          .router = config.num_local_experts * hidden * static_cast<int64_t>(sizeof(float)),
          .expert = 2 * code_bytes(width, hidden) + code_bytes(hidden, width),
          .num_experts = share.experts.size(),
          .embeddings = tokens * hidden * static_cast<int64_t>(sizeof(uint16_t)),
          .head = code_bytes(tokens, hidden),
          .num_layers = config.num_hidden_layers};
}

double GpuWeightBytes::read_by_step(double experts, bool has_logits) const {
  const double of_layer =
      static_cast<double>(projections + router) + experts * static_cast<double>(expert);
  return static_cast<double>(num_layers) * of_layer + (has_logits ? static_cast<double>(head) : 0);
}

Result<void> check_gpu_weights_fit(const ModelConfig& config, const plan::RankShare& share,
                                   const gpu::DeviceInfo& info) {
  const GpuWeightBytes bytes = gpu_weight_bytes(config, share);
  const int64_t all = bytes.total();
  if (all <= info.free_bytes) return {};
  const int64_t rest = bytes.embeddings + bytes.head;
  const int64_t fit = std::max<int64_t>((info.free_bytes - rest) / bytes.layer(), 0);
  return fail(
      ErrorCode::resource_exhausted,
      "the weights of {} layers take {:.1f} GB, and of the {:.1f} GB of {} {:.1f} are free; "
      "{}",
      config.num_hidden_layers, gigabytes(all), gigabytes(info.total_bytes), info.name,
      gigabytes(info.free_bytes),
      fit > 0 ? fmt::format("{} layers would fit", fit)
              : std::string("not even one layer would fit"));
}

}  // namespace tetrad
