#include "model/gpu_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <new>
#include <utility>

#include "model/gpu_model_buffers.h"
#include "parallel/agreement.h"

namespace tetrad {

using gpu::DeviceAddress;

namespace {

/// Steps of at most so many tokens, one a sequence, are recorded as graphs.
constexpr uint32_t kMaxGraphTokens = 64;

}  // namespace

int64_t GpuModel::kv_block_bytes(const ModelConfig& config) {
  return 2 * config.num_hidden_layers * kKvBlockSize * config.kv_size();
}

GpuModel::GpuModel(const ModelConfig& config, std::unique_ptr<gpu::Device> device,
                   gpu::GpuKernels kernels, std::unique_ptr<GpuMemory> memory, GpuWeights weights,
                   const GpuModelLimits& limits)
    : config_(config),
      device_(std::move(device)),
      kernels_(std::move(kernels)),
      ranks_(config),
      memory_(std::move(memory)),
      weights_(std::move(weights)),
      limits_(limits),
      inputs_(std::make_unique<GpuStepInputs>()),
      buffers_(std::make_unique<Buffers>()),
      logits_(std::make_unique<GpuLogits>()) {}

GpuModel::~GpuModel() {
  graphs_.clear();
  ranks_.leave();
  cache_memory_.reset();
  step_memory_.reset();
  memory_.reset();
}

Result<void> GpuModel::check_config(const ModelConfig& config) {
  struct Size {
    std::string_view name;
    int64_t value;
    int64_t most;
    int64_t multiple_of = 1;
  };
  constexpr int64_t kMostColumns = gpu::kDecodeWarps * gpu::kSegmentColumns;
  const Size sizes[] = {
      {"head_dim", config.head_dim, 128, 64},
      {"query heads a KV head", config.num_attention_heads / config.num_key_value_heads,
       gpu::kMaxGroup},
      {"query size", config.q_size(), gpu::kMaxQSize},
      {"key size", config.kv_size(), gpu::kMaxKvSize},
      {"rotary_dim", config.rotary_dim, config.head_dim, 8},
      {"hidden_size", config.hidden_size, 128 * gpu::kRouterLoads, 128},
      {"intermediate_size", config.intermediate_size, kMostColumns},
      {"num_local_experts", config.num_local_experts, gpu::kMaxExperts},
      {"num_experts_per_tok", config.num_experts_per_tok, gpu::kMaxPicks},
      {"vocab_size", config.vocab_size, gpu::kMaxSummaryVocabulary},
  };
  for (const Size& size : sizes) {
    if (size.value <= size.most && size.value % size.multiple_of == 0) continue;
    return fail(
        ErrorCode::unsupported, "{} is {}, and the GPU's kernels take {}up to {}; use --device cpu",
        size.name, size.value,
        size.multiple_of == 1 ? "" : fmt::format("multiples of {} ", size.multiple_of), size.most);
  }
  return {};
}

Result<std::unique_ptr<GpuModel>> GpuModel::create(
    const ModelConfig& config, std::unique_ptr<gpu::Device> device, gpu::GpuKernels kernels,
    std::unique_ptr<GpuMemory> memory, GpuWeights weights, std::span<const KvScales> kv_scales,
    const GpuModelLimits& limits, const GpuRanks* ranks) {
  ModelConfig local = config;
  if (ranks != nullptr) {
    local = GpuRankGroup::local_config(config, share_among(config, ranks));
  }
  if (auto checked = check_config(local); !checked) {
    memory.reset();  // while there is a device to give it back to
    return tl::unexpected(std::move(checked.error()));
  }
  std::unique_ptr<GpuModel> model(new GpuModel(local, std::move(device), std::move(kernels),
                                               std::move(memory), std::move(weights), limits));
  if (ranks != nullptr) {
    TETRAD_ASSIGN(model->ranks_, GpuRankGroup::join(config, *ranks, model->kernels_));
  }
  model->buffers_->scales.assign(kv_scales.begin(), kv_scales.end());
  Result<void> resized = model->resize(limits);
  // All have what they need, and none allocates, which may wait for kernels, while another's first
  // step waits for it.
  if (ranks != nullptr) resized = parallel::agree(*ranks->ranks, resized);
  TETRAD_TRY(resized);
  return model;
}

Result<std::unique_ptr<GpuModel>> GpuModel::create_random(const ModelConfig& config, uint32_t seed,
                                                          std::unique_ptr<gpu::Device> device,
                                                          gpu::GpuKernels kernels,
                                                          const GpuModelLimits& limits,
                                                          const GpuRanks* ranks) {
  auto memory = std::make_unique<GpuMemory>(*device);
  const plan::RankShare share = share_among(config, ranks);
  auto made = make_random_gpu_weights(config, share, seed, kernels, *memory);
  if (ranks != nullptr) TETRAD_TRY(parallel::agree(*ranks->ranks, made));
  TETRAD_ASSIGN(GpuWeights weights, std::move(made));
  const std::vector<KvScales> scales(static_cast<size_t>(config.num_hidden_layers));
  return create(config, std::move(device), kernels, std::move(memory), std::move(weights), scales,
                limits, ranks);
}

Result<void> GpuModel::resize(const GpuModelLimits& limits) {
  if (limits.max_num_batched_tokens > gpu::kMaxGroupedTokens)
    return fail(ErrorCode::invalid_argument,
                "a GPU computes steps of up to {} tokens; --max-num-batched-tokens is {}",
                gpu::kMaxGroupedTokens, limits.max_num_batched_tokens);
  std::vector<KvScales> scales = std::move(buffers_->scales);
  graphs_.clear();
  cache_memory_.reset();
  step_memory_ = std::make_unique<GpuMemory>(*device_);
  inputs_ = std::make_unique<GpuStepInputs>();
  buffers_ = std::make_unique<Buffers>();
  logits_ = std::make_unique<GpuLogits>();
  limits_ = limits;
  limits_.num_kv_blocks = 0;
  TETRAD_TRY(allocate(scales));
  return allocate_kv_cache(limits.num_kv_blocks);
}

Result<void> GpuModel::allocate_kv_cache(int64_t num_kv_blocks) {
  cache_memory_ = std::make_unique<GpuMemory>(*device_);
  buffers_->k_cache.clear();
  buffers_->v_cache.clear();
  const int64_t bytes = num_kv_blocks * kKvBlockSize * config_.kv_size();
  for (int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
    TETRAD_ASSIGN(uint8_t* k, cache_memory_->array<uint8_t>(bytes));
    TETRAD_ASSIGN(uint8_t* v, cache_memory_->array<uint8_t>(bytes));
    buffers_->k_cache.push_back(k);
    buffers_->v_cache.push_back(v);
  }
  limits_.num_kv_blocks = num_kv_blocks;
  return {};
}

Result<void> GpuModel::allocate(std::span<const KvScales> kv_scales) {
  buffers_->scales.assign(kv_scales.begin(), kv_scales.end());
  GpuMemory& memory = *step_memory_;
  const int64_t tokens = limits_.max_num_batched_tokens;
  TETRAD_TRY(inputs_->allocate(
      memory, {.max_num_batched_tokens = tokens,
               .max_num_seqs = limits_.max_num_seqs,
               .max_model_len = limits_.max_model_len,
               .query_group = config_.num_attention_heads / config_.num_key_value_heads,
               .prefill_columns = kernels_.prefill_columns()}));
  TETRAD_TRY(logits_->allocate(
      memory,
      {.rows_at_once = std::min(limits_.max_logits_rows, tokens),
       .max_rows = tokens,
       .vocab_size = config_.vocab_size},
      [this](int64_t row) { return recompute_logits(static_cast<uint32_t>(row)); }));
  TETRAD_TRY(allocate_activations());
  TETRAD_TRY(allocate_attention());
  return copy_rotation();
}

Result<void> GpuModel::allocate_activations() {
  GpuMemory& memory = *step_memory_;
  Buffers& b = *buffers_;
  const int64_t tokens = limits_.max_num_batched_tokens;
  const int64_t pairs = tokens * config_.num_experts_per_tok;
  const int64_t experts = config_.num_local_experts;
  const auto padded = [](int64_t cols) {
    return static_cast<uint32_t>((cols + gpu::kTileColumns - 1) / gpu::kTileColumns *
                                 gpu::kTileColumns);
  };
  b.normed_stride = padded(config_.hidden_size);
  b.hidden_stride = padded(config_.intermediate_size);
  b.attended_stride = padded(config_.q_size());

  TETRAD_ASSIGN(b.residual, memory.array<float>(tokens * config_.hidden_size));
  const int64_t qkv_size = config_.q_size() + 2 * config_.kv_size();
  TETRAD_ASSIGN(b.qkv, memory.array<float>(tokens * qkv_size));
  TETRAD_ASSIGN(b.square_sums, memory.array<float>(tokens * qkv_size / gpu::kSquareColumns));
  TETRAD_ASSIGN(b.last, memory.array<float>(logits_->rows_at_once() * config_.hidden_size));
  if (!ranks_.is_alone()) {
    TETRAD_ASSIGN(b.squares, memory.array<float>(2 * tokens));
    TETRAD_ASSIGN(b.logits_part,
                  memory.array<float>(logits_->rows_at_once() * ranks_.vocabulary_width()));
  }
  TETRAD_ASSIGN(b.normed, memory.zeros<uint16_t>(tokens * b.normed_stride));
  TETRAD_ASSIGN(b.q, memory.array<uint16_t>(tokens * config_.q_size()));
  TETRAD_ASSIGN(b.attended, memory.zeros<uint16_t>(tokens * b.attended_stride));
  TETRAD_ASSIGN(b.hidden, memory.zeros<uint16_t>(pairs * b.hidden_stride));
  const int64_t picks = config_.num_experts_per_tok;
  // Of half of the picks; of one alone there is nothing to tell, and memory for it all the same.
  TETRAD_ASSIGN(b.told_products,
                memory.filled<float>(std::max<int64_t>(1, picks / 2) * config_.hidden_size, 0xFF));
  // The experts' products, and before them those of q, k, v and of o by segments.
  int64_t products = pairs * config_.hidden_size;
  for (const GpuLayer& layer : weights_.layers) {
    for (const gpu::PackedMatrix& matrix : {layer.qkv, layer.o})
      products = std::max(products, static_cast<int64_t>(gpu::gemm_partial_floats(
                                        matrix.rows, matrix.cols, static_cast<uint64_t>(tokens))));
  }
  TETRAD_ASSIGN(b.products, memory.array<float>(products));
  TETRAD_ASSIGN(b.router_logits, memory.array<float>(tokens * experts));
  // As many tokens of each rank, which may be more than there are (gather_routed).
  const int64_t routed = pairs + ranks_.share().layout.tensor_parallel * picks;
  TETRAD_ASSIGN(b.expert_ids, memory.array<int32_t>(routed));
  TETRAD_ASSIGN(b.expert_weights, memory.array<float>(routed));
  TETRAD_ASSIGN(b.lists.expert_offsets, memory.array<uint32_t>(experts + 1));
  TETRAD_ASSIGN(b.lists.sorted_pairs, memory.array<uint32_t>(pairs));
  TETRAD_ASSIGN(b.lists.active, memory.array<gpu::ActiveExpert>(experts));
  TETRAD_ASSIGN(b.lists.num_active, memory.array<uint32_t>(1));
  TETRAD_ASSIGN(b.token_tiles, memory.array<uint32_t>(pairs + experts));
  TETRAD_ASSIGN(b.num_token_tiles, memory.array<uint32_t>(1));
  TETRAD_ASSIGN(b.route_finished, memory.zeros<uint32_t>(tokens));
  TETRAD_ASSIGN(b.down_finished, memory.zeros<uint32_t>(config_.hidden_size));
  return {};
}

Result<void> GpuModel::allocate_attention() {
  GpuMemory& memory = *step_memory_;
  Buffers& b = *buffers_;
  const int64_t seqs = limits_.max_num_seqs;
  const int64_t kv_heads = config_.num_key_value_heads;
  TETRAD_ASSIGN(b.attend_finished, memory.zeros<uint32_t>(seqs * kv_heads));
  b.partial_floats = kernels_.partial_floats(static_cast<uint32_t>(config_.head_dim));
  // Every sequence's groups are rounded up to a power of two.
  const int64_t most_groups = std::bit_ceil(
      static_cast<uint64_t>(std::max<int64_t>(limits_.max_model_len / gpu::kGroupKeys + 1, 1)));
  b.max_partials = std::max(most_groups, std::min(seqs * most_groups, int64_t{4096}));
  TETRAD_ASSIGN(b.attend_partial,
                memory.array<float>(b.max_partials * kv_heads * b.partial_floats));
  return {};
}

Result<void> GpuModel::copy_rotation() {
  const int64_t half = config_.rotary_dim / 2;
  std::vector<float> rotation(static_cast<size_t>(limits_.max_model_len * half * 2));
  for (int64_t j = 0; j < half; ++j) {
    const double frequency =
        std::pow(config_.rope_theta,
                 -2.0 * static_cast<double>(j) / static_cast<double>(config_.rotary_dim));
    for (int64_t position = 0; position < limits_.max_model_len; ++position) {
      const double angle = static_cast<double>(position) * frequency;
      const auto at = static_cast<size_t>((position * half + j) * 2);
      rotation[at] = static_cast<float>(std::cos(angle));
      rotation[at + 1] = static_cast<float>(std::sin(angle));
    }
  }
  float*& on_device = buffers_->rotation;
  TETRAD_ASSIGN(on_device, step_memory_->array<float>(std::ssize(rotation)));
  TETRAD_TRY(device_->copy_to_device(reinterpret_cast<DeviceAddress>(on_device), rotation.data(),
                                     std::ssize(rotation) * int64_t{sizeof(float)}));
  return device_->synchronize();
}

Result<void> GpuModel::copy_inputs(const Batch& batch, std::span<const LogitsUse> uses) {
  TETRAD_TRY(inputs_->fill(batch, uses));
  return inputs_->copy_to(*device_);
}

Result<Activations> GpuModel::forward(const Batch& batch) {
  TETRAD_TRY(start(batch, {}));
  TETRAD_TRY(finish());
  return logits_->rows();
}

Result<void> GpuModel::start(const Batch& batch, std::span<const LogitsUse> uses) {
  Result<void> started = copy_inputs(batch, uses);
  if (started) started = enqueue_step(uses);
  if (!started) {
    // What is under way must not see the next step's inputs, and the launch that brings the block
    // tables up to date may not have been made.
    static_cast<void>(ranks_.wait(*device_));
    inputs_->forget_tables();
  }
  return started;
}

Result<void> GpuModel::enqueue_step(std::span<const LogitsUse> uses) {
  TETRAD_TRY(logits_->begin(shape().num_logits, uses));
  if (has_many_logits()) {
    enqueue();
    return kernels_.status();
  }
  const bool is_decode = shape().num_items == 0 && shape().num_tokens <= kMaxGraphTokens;
  TETRAD_TRY(use_graphs_ && is_decode ? replay() : compute());
  return logits_->copy(0, shape().num_logits);
}

Result<StepLogits> GpuModel::finish() {
  Result<void> done;
  if (has_many_logits()) done = compute_many_logits();
  // Whatever there was: nothing is under way when this returns.
  Result<void> waited = ranks_.wait(*device_);
  if (done) done = std::move(waited);
  if (!done) {
    inputs_->forget_tables();
    return tl::unexpected(std::move(done.error()));
  }
  return StepLogits(*logits_, shape().num_logits);
}

Result<void> GpuModel::compute() {
  enqueue();
  if (shape().num_logits > 0) enqueue_told_logits(0, shape().num_logits);
  TETRAD_TRY(ranks_.status());
  return kernels_.status();
}

Result<void> GpuModel::replay() {
  const GraphCache<GpuStepShape>::Found found = graphs_.find(shape());
  if (found.graph != nullptr) return device_->launch(*found.graph);
  if (!found.is_worth_recording) return compute();
  TETRAD_TRY(device_->begin_graph());
  const Result<void> enqueued = compute();
  auto recorded = device_->end_graph();
  TETRAD_TRY(enqueued);
  if (!recorded) {
    // Graphs take memory: the step goes on without one, and the others make room.
    graphs_.clear();
    return compute();
  }
  return device_->launch(graphs_.add(shape(), std::move(*recorded)));
}

Result<void> GpuModel::recompute_logits(uint32_t row) {
  enqueue_logits(row, 1);
  TETRAD_TRY(ranks_.status());
  TETRAD_TRY(kernels_.status());
  return ranks_.is_alone() ? Result<void>() : ranks_.wait(*device_);
}

/// They take each other's place on the device, and their copies wait for it: nothing for start().
Result<void> GpuModel::compute_many_logits() {
  const auto at_once = static_cast<uint32_t>(logits_->rows_at_once());
  for (uint32_t first = 0; first < shape().num_logits; first += at_once) {
    const uint32_t count = std::min(at_once, shape().num_logits - first);
    enqueue_told_logits(first, count);
    TETRAD_TRY(ranks_.status());
    TETRAD_TRY(kernels_.status());
    TETRAD_TRY(logits_->copy(first, count));
  }
  return {};
}

}  // namespace tetrad
