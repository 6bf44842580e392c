#include "model/gpu_selftest.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "base/percentile.h"
#include "model/gpu_model.h"
#include "model/kv_cache.h"

namespace tetrad {
namespace {

constexpr KvScales kSelftestScales{.k = 0.02f, .v = 0.02f};

/// Batches of sequences that share their tokens and not their blocks.
class SelftestBatch {
 public:
  SelftestBatch(std::span<const int32_t> tokens, int64_t blocks_of_sequence)
      : tokens_(tokens), blocks_of_sequence_(blocks_of_sequence) {}

  /// Tokens first … first + count - 1 of sequence `index`, with the logits of all.
  void add(int64_t index, int64_t first, int64_t count) {
    std::vector<int32_t>& table = tables_.emplace_back();
    // Blocks in another order than their numbers'.
    for (int64_t block = 0; block < blocks_of_sequence_; ++block)
      table.push_back(static_cast<int32_t>((index + 1) * blocks_of_sequence_ - 1 - block));
    slices_.push_back({.query_start = static_cast<int64_t>(ids_.size()),
                       .query_len = count,
                       .context_len = first});
    for (int64_t position = first; position < first + count; ++position) {
      logits_rows_.push_back(static_cast<int32_t>(ids_.size()));
      ids_.push_back(tokens_[static_cast<size_t>(position)]);
      positions_.push_back(static_cast<int32_t>(position));
      slots_.push_back(table[static_cast<size_t>(position / kKvBlockSize)] * kKvBlockSize +
                       position % kKvBlockSize);
    }
  }
  Batch batch() {
    for (size_t i = 0; i < slices_.size(); ++i)
      slices_[i].block_table = tables_[i];
    return {.token_ids = ids_,
            .positions = positions_,
            .slot_mapping = slots_,
            .sequences = slices_,
            .logits_rows = logits_rows_};
  }

 private:
  std::span<const int32_t> tokens_;
  int64_t blocks_of_sequence_;
  std::vector<std::vector<int32_t>> tables_;
  std::vector<int32_t> ids_, positions_, logits_rows_;
  std::vector<int64_t> slots_;
  std::vector<SequenceSlice> slices_;
};

void compare_with_cpu(const std::vector<float>& gpu, Activations cpu, GpuSelftestResult& result) {
  std::vector<double> errors;
  for (int64_t row = 0; row < cpu.rows; ++row) {
    const float* expected = cpu.row(row);
    const float* computed = gpu.data() + row * cpu.cols;
    double difference = 0;
    double size = 0;
    for (int64_t i = 0; i < cpu.cols; ++i) {
      difference += std::pow(static_cast<double>(computed[i]) - expected[i], 2);
      size += std::pow(static_cast<double>(expected[i]), 2);
    }
    errors.push_back(std::sqrt(difference / size));
    const int64_t best = std::max_element(expected, expected + cpu.cols) - expected;
    const int64_t chosen = std::max_element(computed, computed + cpu.cols) - computed;
    const double margin = kSelftestMargin * std::sqrt(size / static_cast<double>(cpu.cols));
    if (expected[best] - expected[chosen] > margin) ++result.num_wrong_choices;
  }
  result.median_error = median_of(std::move(errors));
}

/// Tokens of `rows` that have other bits than those of `all` from token `first` on.
int64_t other_bits(Activations rows, const std::vector<float>& all, int64_t first_row,
                   int64_t first, int64_t count) {
  int64_t other = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto bytes = static_cast<size_t>(rows.cols) * sizeof(float);
    if (std::memcmp(rows.row(first_row + i), all.data() + (first + i) * rows.cols, bytes) != 0)
      ++other;
  }
  return other;
}

}  // namespace

bool GpuSelftestResult::passed() const {
  return median_error < kSelftestTolerance && num_other_bits == 0 &&
         static_cast<double>(num_wrong_choices) <=
             kSelftestWrongShare * static_cast<double>(num_tokens);
}

Result<GpuSelftestResult> run_gpu_selftest(std::unique_ptr<gpu::Device> device,
                                           const GpuSelftestOptions& options) {
  TETRAD_ASSIGN(const ModelConfig config, synthetic_config(options.shape));
  auto pool = std::make_shared<ThreadPool>(0);
  TETRAD_ASSIGN(std::shared_ptr<Kernels> cpu_kernels, make_cpu_kernels(pool));
  TETRAD_ASSIGN(const auto cpu, make_synthetic_model(config, 7, *pool, cpu_kernels));

  TETRAD_ASSIGN(gpu::GpuKernels kernels, gpu::GpuKernels::create(*device));
  auto memory = std::make_unique<GpuMemory>(*device);
  TETRAD_ASSIGN(GpuWeights weights, load_gpu_weights(config, cpu->weights(), kernels, *memory));
  const std::vector<KvScales> scales(static_cast<size_t>(config.num_hidden_layers),
                                     kSelftestScales);
  const int64_t blocks = kv_blocks_for(options.num_tokens);
  TETRAD_ASSIGN(const auto model,
                GpuModel::create(config, std::move(device), kernels, std::move(memory),
                                 std::move(weights), scales,
                                 {.num_kv_blocks = 3 * blocks,
                                  .max_num_batched_tokens = options.num_tokens + 8,
                                  .max_num_seqs = 8,
                                  .max_logits_rows = options.num_tokens + 8,
                                  .max_model_len = options.num_tokens}));

  std::vector<int32_t> tokens(static_cast<size_t>(options.num_tokens));
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<int32_t>(i * 7919 % static_cast<size_t>(config.vocab_size));
  GpuSelftestResult result{.num_tokens = options.num_tokens};

  SelftestBatch whole(tokens, blocks);
  whole.add(0, 0, options.num_tokens);
  TETRAD_ASSIGN(const Activations logits, model->forward(whole.batch()));
  const std::vector<float> all(logits.data, logits.data + logits.rows * logits.cols);
  TETRAD_ASSIGN(const KvCache cache, KvCache::create(config, DType::f8_e4m3, 3 * blocks, scales));
  TETRAD_ASSIGN(const Activations of_cpu, cpu->forward(whole.batch(), cache));
  compare_with_cpu(all, of_cpu, result);

  // In chunks that get smaller, then token by token; each step beside another sequence's token.
  const int64_t last = options.num_tokens - options.decodes;
  int64_t count = options.chunk;
  for (int64_t first = 0; first < options.num_tokens; first += count) {
    count = first < last ? std::min(std::max<int64_t>(count * 2 / 3, 1), last - first) : 1;
    SelftestBatch part(tokens, blocks);
    part.add(1, first, count);
    if (first % 2 == 0) part.add(2, 0, 1);
    TETRAD_ASSIGN(const Activations rows, model->forward(part.batch()));
    result.num_other_bits += other_bits(rows, all, 0, first, count);
    if (first % 2 == 0) result.num_other_bits += other_bits(rows, all, count, 0, 1);
  }
  return result;
}

}  // namespace tetrad
