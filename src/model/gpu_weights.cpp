#include "model/gpu_weights.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <span>
#include <string_view>

namespace tetrad {

using gpu::DeviceAddress;
using gpu::PackedMatrix;
using gpu::TileFormat;

GpuMemory::~GpuMemory() {
  for (const DeviceAddress address : addresses_)
    device_->free(address);
  for (std::byte* memory : pinned_)
    device_->free_pinned(memory);
}

Result<DeviceAddress> GpuMemory::allocate(int64_t bytes) {
  TETRAD_ASSIGN(const DeviceAddress address, device_->allocate(bytes));
  addresses_.push_back(address);
  return address;
}

Result<std::byte*> GpuMemory::allocate_pinned(int64_t bytes) {
  TETRAD_ASSIGN(std::byte * memory, device_->allocate_pinned(bytes));
  pinned_.push_back(memory);
  return memory;
}

namespace {

uint64_t matrix_bytes(const PackedMatrix& matrix) {
  return gpu::packed_bytes(matrix.format, matrix.rows, matrix.cols);
}

PackedMatrix matrix_at(DeviceAddress address, TileFormat format, int64_t rows, int64_t cols) {
  return {.tiles = reinterpret_cast<const char*>(address),
          .rows = static_cast<uint32_t>(rows),
          .cols = static_cast<uint32_t>(cols),
          .format = format};
}

Result<TileFormat> tile_format(const WeightMatrix& matrix, std::string_view name) {
  switch (matrix.format) {
    case WeightFormat::mxfp4_16:
      return TileFormat::codes;
    case WeightFormat::bf16:
    case WeightFormat::f16:
      return TileFormat::halves;
    default:
      return fail(ErrorCode::unsupported,
                  "{} is {}, which GPUs do not compute with here (mxfp4_16, BF16 and F16 they do); "
                  "make an mxfp4_16 checkpoint with tetrad quantize, or use --device cpu",
                  name, weight_format_name(matrix.format));
  }
}

/// The result, or its error with the tensor's name before it.
template <class T>
Result<T> named(Result<T> result, std::string_view name) {
  if (!result) return tl::unexpected(std::move(result.error()).in(name));
  return result;
}

/// Brings matrices to the device through page-locked memory and packs them there.
class WeightLoader {
 public:
  WeightLoader(gpu::GpuKernels& kernels, GpuMemory& memory, Codebook& codebook,
               LoadProgress progress, int64_t total)
      : kernels_(kernels),
        memory_(memory),
        scratch_(memory.device()),
        codebook_(codebook),
        progress_(std::move(progress)),
        total_(total) {}

  Result<const float*> vector(std::span<const float> values) {
    TETRAD_ASSIGN(float* to, memory_.array<float>(static_cast<int64_t>(values.size())));
    TETRAD_TRY(copy(reinterpret_cast<DeviceAddress>(to),
                    reinterpret_cast<const std::byte*>(values.data()),
                    static_cast<int64_t>(values.size_bytes())));
    return to;
  }

  /// Any dense matrix as float32, row by row.
  Result<const float*> floats(const WeightMatrix& matrix) {
    std::vector<float> values(static_cast<size_t>(matrix.rows * matrix.cols));
    for (int64_t row = 0; row < matrix.rows; ++row)
      dequantize_row(matrix, row,
                     std::span(values).subspan(static_cast<size_t>(row * matrix.cols),
                                               static_cast<size_t>(matrix.cols)));
    return vector(values);
  }

  Result<const uint16_t*> bf16(const WeightMatrix& matrix) {
    const int64_t count = matrix.rows * matrix.cols;
    TETRAD_ASSIGN(uint16_t* to, memory_.array<uint16_t>(count));
    if (matrix.format == WeightFormat::bf16) {
      TETRAD_TRY(copy(reinterpret_cast<DeviceAddress>(to), matrix.data, count * 2));
      return to;
    }
    std::vector<float> row(static_cast<size_t>(matrix.cols));
    std::vector<uint16_t> rounded(row.size());
    for (int64_t r = 0; r < matrix.rows; ++r) {
      dequantize_row(matrix, r, row);
      std::ranges::transform(row, rounded.begin(), float_to_bf16);
      TETRAD_TRY(copy(reinterpret_cast<DeviceAddress>(to + r * matrix.cols),
                      reinterpret_cast<const std::byte*>(rounded.data()), matrix.cols * 2));
    }
    return to;
  }

  /// Several matrices of one width and format, one below the other.
  Result<PackedMatrix> stack(std::span<const WeightMatrix* const> parts, std::string_view name) {
    TETRAD_ASSIGN(const TileFormat format, tile_format(*parts[0], name));
    int64_t rows = 0;
    for (const WeightMatrix* part : parts) {
      if (part->format != parts[0]->format ||
          (parts.size() > 1 && part->rows % gpu::kTileRows != 0)) {
        return fail(ErrorCode::unsupported,
                    "{}: parts of different formats, or of rows that are no multiple of {}, do not "
                    "go together on a GPU; use --device cpu",
                    name, gpu::kTileRows);
      }
      rows += part->rows;
    }
    const auto bytes = static_cast<int64_t>(gpu::packed_bytes(
        format, static_cast<uint32_t>(rows), static_cast<uint32_t>(parts[0]->cols)));
    TETRAD_ASSIGN(const DeviceAddress tiles, named(memory_.allocate(bytes), name));
    DeviceAddress at = tiles;
    for (const WeightMatrix* part : parts) {
      TETRAD_TRY(pack(*part, format, at, name));
      at += gpu::packed_bytes(format, static_cast<uint32_t>(part->rows),
                              static_cast<uint32_t>(part->cols));
    }
    return matrix_at(tiles, format, rows, parts[0]->cols);
  }

  /// All experts' matrices one after the other; returns the first.
  Result<PackedMatrix> experts(std::span<const WeightMatrix> matrices, std::string_view name,
                               uint64_t& stride) {
    std::vector<const WeightMatrix*> parts;
    for (const WeightMatrix& matrix : matrices)
      parts.push_back(&matrix);
    TETRAD_ASSIGN(PackedMatrix all, stack(parts, name));
    all.rows = static_cast<uint32_t>(matrices[0].rows);
    const uint64_t bytes = matrix_bytes(all);
    if (stride != 0 && stride != bytes) {
      return fail(ErrorCode::unsupported,
                  "{} has another format than the experts before, and a GPU computes one in all "
                  "layers; use --device cpu",
                  name);
    }
    stride = bytes;
    return all;
  }

  /// Until all is packed.
  Result<void> finish() {
    TETRAD_TRY(kernels_.status());
    return kernels_.device().synchronize();
  }

 private:
  static constexpr int64_t kPinnedBytes = int64_t{64} << 20;
  static constexpr int64_t kChunkBytes = int64_t{4} << 20;

  /// Through page-locked memory, chunk by chunk: one is on its way while the next is filled.
  Result<void> copy(DeviceAddress to, const std::byte* from, int64_t bytes) {
    if (pinned_ == nullptr) {
      TETRAD_ASSIGN(pinned_, scratch_.allocate_pinned(kPinnedBytes));
    }
    for (int64_t done = 0; done < bytes;) {
      if (used_ == kPinnedBytes) {
        TETRAD_TRY(kernels_.device().synchronize());
        used_ = 0;
      }
      const int64_t count = std::min({bytes - done, kPinnedBytes - used_, kChunkBytes});
      std::memcpy(pinned_ + used_, from + done, static_cast<size_t>(count));
      TETRAD_TRY(kernels_.device().copy_to_device(to + static_cast<uint64_t>(done), pinned_ + used_,
                                                  count));
      used_ += count;
      done += count;
    }
    // Some get wider on the device, and vectors are not in the total.
    done_ = std::min(done_ + bytes, total_);
    if (progress_) progress_(done_, total_);
    return {};
  }

  /// A place on the device for what a checkpoint says, until it is packed.
  Result<DeviceAddress> raw(int64_t bytes) {
    if (bytes > raw_bytes_) {
      TETRAD_TRY(kernels_.device().synchronize());
      TETRAD_ASSIGN(raw_, scratch_.allocate(bytes));
      raw_bytes_ = bytes;
    }
    return raw_;
  }

  Result<void> pack(const WeightMatrix& matrix, TileFormat format, DeviceAddress to,
                    std::string_view name) {
    const auto rows = static_cast<uint32_t>(matrix.rows);
    const auto cols = static_cast<uint32_t>(matrix.cols);
    if (format == TileFormat::halves) {
      const int64_t bytes = matrix.rows * matrix.cols * 2;
      TETRAD_ASSIGN(const DeviceAddress weights, named(raw(bytes), name));
      TETRAD_TRY(copy(weights, matrix.data, bytes));
      kernels_.pack_halves({.weights = reinterpret_cast<const uint16_t*>(weights),
                            .tiles = reinterpret_cast<char*>(to),
                            .rows = rows,
                            .cols = cols,
                            .is_bf16 = matrix.format == WeightFormat::bf16 ? 1u : 0u});
      return kernels_.status();
    }
    if (!has_codebook_) codebook_ = matrix.codebook;
    has_codebook_ = true;
    if (matrix.codebook != codebook_)
      return fail(ErrorCode::unsupported, "{} has another codebook than the matrices before", name);
    const int64_t code_bytes = matrix.rows * matrix.cols / 2;
    const int64_t scale_bytes = matrix.rows * matrix.cols / kMxfp4GroupSize * 2;
    const int64_t scales_at = (code_bytes + 15) / 16 * 16;
    TETRAD_ASSIGN(const DeviceAddress codes, named(raw(scales_at + scale_bytes), name));
    const DeviceAddress scales = codes + static_cast<uint64_t>(scales_at);
    TETRAD_TRY(copy(codes, matrix.data, code_bytes));
    TETRAD_TRY(copy(scales, matrix.scales, scale_bytes));
    kernels_.pack_codes({.codes = reinterpret_cast<const uint8_t*>(codes),
                         .scales = reinterpret_cast<const uint16_t*>(scales),
                         .tiles = reinterpret_cast<char*>(to),
                         .rows = rows,
                         .cols = cols});
    return kernels_.status();
  }

  gpu::GpuKernels& kernels_;
  GpuMemory& memory_;
  GpuMemory scratch_;  // until all is loaded
  Codebook& codebook_;
  bool has_codebook_ = false;
  LoadProgress progress_;
  int64_t total_;
  int64_t done_ = 0;
  std::byte* pinned_ = nullptr;
  int64_t used_ = 0;  // of it, by copies that may be on their way
  DeviceAddress raw_ = 0;
  int64_t raw_bytes_ = 0;
};

Result<GpuLayer> load_gpu_layer(WeightLoader& loader, const MiniMaxM2Layer& layer,
                                const std::string& prefix, GpuWeights& all) {
  GpuLayer to;
  const WeightMatrix* const qkv[] = {&layer.q_proj, &layer.k_proj, &layer.v_proj};
  const WeightMatrix* const o[] = {&layer.o_proj};
  const std::string experts = prefix + "block_sparse_moe.experts.*.";
  const auto vector = [&](const std::vector<float>& values, const char* name) {
    return named(loader.vector(values), prefix + name);
  };
  TETRAD_ASSIGN(to.qkv, loader.stack(qkv, prefix + "self_attn.{q,k,v}_proj"));
  TETRAD_ASSIGN(to.o, loader.stack(o, prefix + "self_attn.o_proj"));
  TETRAD_ASSIGN(to.w1, loader.experts(layer.w1, experts + "w1", all.up_stride));
  TETRAD_ASSIGN(to.w3, loader.experts(layer.w3, experts + "w3", all.up_stride));
  TETRAD_ASSIGN(to.w2, loader.experts(layer.w2, experts + "w2", all.down_stride));
  TETRAD_ASSIGN(to.router, named(loader.floats(layer.router), prefix + "block_sparse_moe.gate"));
  TETRAD_ASSIGN(to.routing_bias,
                vector(layer.routing_bias, "block_sparse_moe.e_score_correction_bias"));
  TETRAD_ASSIGN(to.input_layernorm, vector(layer.input_layernorm, "input_layernorm"));
  TETRAD_ASSIGN(to.post_attention_layernorm,
                vector(layer.post_attention_layernorm, "post_attention_layernorm"));
  TETRAD_ASSIGN(to.q_norm, vector(layer.q_norm, "self_attn.q_norm"));
  TETRAD_ASSIGN(to.k_norm, vector(layer.k_norm, "self_attn.k_norm"));
  return to;
}

/// What is outside of the layers, and layer `index`, which need be there only until the next call.
struct WeightsToLoad {
  const WeightMatrix& embed_tokens;
  const WeightMatrix& lm_head;
  const std::vector<float>& norm;
  size_t num_layers;
  std::function<Result<const MiniMaxM2Layer*>(size_t index)> layer;
};

Result<void> load_all(const WeightsToLoad& from, WeightLoader& loader, GpuWeights& all) {
  TETRAD_ASSIGN(all.embed_tokens, named(loader.bf16(from.embed_tokens), "model.embed_tokens"));
  const WeightMatrix* const head[] = {&from.lm_head};
  TETRAD_ASSIGN(all.lm_head, loader.stack(head, "lm_head"));
  TETRAD_ASSIGN(all.norm, named(loader.vector(from.norm), "model.norm"));
  for (size_t index = 0; index < from.num_layers; ++index) {
    TETRAD_ASSIGN(const MiniMaxM2Layer* layer, from.layer(index));
    TETRAD_ASSIGN(const GpuLayer on_gpu,
                  load_gpu_layer(loader, *layer, fmt::format("model.layers.{}.", index), all));
    all.layers.push_back(on_gpu);
  }
  return loader.finish();
}

}  // namespace

Result<GpuWeights> load_gpu_weights(const ModelConfig& config, const MiniMaxM2Weights& weights,
                                    gpu::GpuKernels& kernels, GpuMemory& memory,
                                    const LoadProgress& progress) {
  GpuWeights all;
  WeightLoader loader(kernels, memory, all.codebook, progress, weights.total_bytes());
  TETRAD_TRY(load_all({.embed_tokens = weights.embed_tokens,
                       .lm_head = weights.lm_head,
                       .norm = weights.norm,
                       .num_layers = static_cast<size_t>(config.num_hidden_layers),
                       .layer = [&](size_t index) { return &weights.layers[index]; }},
                      loader, all));
  return all;
}

Result<GpuWeights> load_gpu_weights(const WeightShare& share, gpu::GpuKernels& kernels,
                                    GpuMemory& memory, const LoadProgress& progress) {
  GpuWeights all;
  WeightLoader loader(kernels, memory, all.codebook, progress, share.total_bytes());
  SliceMemory outside;
  TETRAD_ASSIGN(const WeightMatrix embed_tokens, share.embed_tokens(outside));
  TETRAD_ASSIGN(const WeightMatrix lm_head, share.lm_head(outside));
  std::unique_ptr<SliceMemory> copies;
  MiniMaxM2Layer layer;
  TETRAD_TRY(load_all({.embed_tokens = embed_tokens,
                       .lm_head = lm_head,
                       .norm = share.whole().norm,
                       .num_layers = share.whole().layers.size(),
                       .layer = [&](size_t index) -> Result<const MiniMaxM2Layer*> {
                         copies = std::make_unique<SliceMemory>();
                         TETRAD_ASSIGN(layer, share.layer(index, *copies));
                         return &layer;
                       }},
                      loader, all));
  return all;
}

Result<GpuWeights> make_random_gpu_weights(const ModelConfig& config, const plan::RankShare& share,
                                           uint32_t seed, gpu::GpuKernels& kernels,
                                           GpuMemory& memory) {
  const int64_t hidden = config.hidden_size;
  const int64_t experts = config.num_local_experts;
  const int64_t tokens = share.vocabulary.size();
  const ModelConfig local = share.local_config(config);
  GpuWeights all;
  WeightLoader loader(kernels, memory, all.codebook, {}, 0);
  constexpr uint32_t kScaleBits = 0x0C00;  // of 2^-12 and up: weights near 0.02
  // What is added to an embedding stays small beside it: else tokens would grow alike from layer to
  // layer and all go to the same experts, where a trained router deals them out evenly.
  constexpr float kAddedScale = 1.0f / 1024;
  const auto random = [&](int64_t count, int64_t rows, int64_t cols,
                          float scale = 1) -> Result<PackedMatrix> {
    PackedMatrix matrix = matrix_at(0, TileFormat::codes, rows, cols);
    matrix.scale *= scale;
    const uint64_t bytes = matrix_bytes(matrix) * static_cast<uint64_t>(count);
    TETRAD_ASSIGN(const DeviceAddress tiles, memory.allocate(static_cast<int64_t>(bytes)));
    kernels.random_tiles({.tiles = reinterpret_cast<char*>(tiles),
                          .num_tiles = bytes / gpu::kCodeTileBytes,
                          .scale_bits = kScaleBits,
                          .seed = ++seed});
    matrix.tiles = reinterpret_cast<const char*>(tiles);
    return matrix;
  };
  TETRAD_ASSIGN(uint16_t* embeddings, memory.array<uint16_t>(tokens * hidden));
  kernels.random_embeddings(
      {.to = embeddings, .count = static_cast<uint64_t>(tokens * hidden), .seed = seed});
  all.embed_tokens = embeddings;
  TETRAD_ASSIGN(all.lm_head, random(1, tokens, hidden));
  const std::vector<float> ones(static_cast<size_t>(std::max(hidden, local.q_size())), 1.0f);
  TETRAD_ASSIGN(const float* norm, loader.vector(ones));
  const std::vector<float> zeros(static_cast<size_t>(experts), 0.0f);
  TETRAD_ASSIGN(const float* bias, loader.vector(zeros));
  all.norm = norm;
  std::vector<float> router(static_cast<size_t>(experts * hidden));
  for (int64_t index = 0; index < config.num_hidden_layers; ++index) {
    GpuLayer layer{.router = nullptr,
                   .routing_bias = bias,
                   .input_layernorm = norm,
                   .post_attention_layernorm = norm,
                   .q_norm = norm,
                   .k_norm = norm};
    TETRAD_ASSIGN(layer.qkv, random(1, local.q_size() + 2 * local.kv_size(), hidden));
    TETRAD_ASSIGN(layer.o, random(1, hidden, local.q_size(), kAddedScale));
    TETRAD_ASSIGN(layer.w1, random(share.experts.size(), share.expert_columns.size(), hidden));
    TETRAD_ASSIGN(layer.w3, random(share.experts.size(), share.expert_columns.size(), hidden));
    TETRAD_ASSIGN(layer.w2,
                  random(share.experts.size(), hidden, share.expert_columns.size(), kAddedScale));
    uint32_t state = ++seed;
    for (float& weight : router) {
      state = state * 1664525u + 1013904223u;
      weight = (static_cast<float>(state >> 8) * 0x1p-24f - 0.5f) * 0.1f;
    }
    TETRAD_ASSIGN(layer.router, loader.vector(router));
    all.layers.push_back(layer);
  }
  all.up_stride = matrix_bytes(all.layers[0].w1);
  all.down_stride = matrix_bytes(all.layers[0].w2);
  TETRAD_TRY(loader.finish());
  return all;
}

}  // namespace tetrad
