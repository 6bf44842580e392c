#include "bench_cpu_ranks.h"

#include <cstring>
#include <utility>

#include "base/splitmix.h"
#include "loaded_model.h"
#include "model/kv_cache_format.h"
#include "model/rank_group.h"
#include "model/rank_weights.h"
#include "parallel/agreement.h"
#include "parallel/in_process.h"
#include "processor_share.h"
#include "rank_flags.h"

namespace tetrad {
namespace {

using RankEnd = std::shared_ptr<parallel::Communicator>;

/// Keys and values of either sign from 1/8 to nearly 2, as normed ones are.
void fill_cache(CpuBenchRank& rank, int64_t num_layers, int64_t bytes, uint64_t of_seed) {
  constexpr uint64_t kSignAndLowBits = 0x9F9F'9F9F'9F9F'9F9F;
  constexpr uint64_t kExponentBit = 0x2020'2020'2020'2020;  // 0x20 is 2^-3, 0x3F 1.875
  constexpr int64_t kWordBytes = sizeof(uint64_t);
  // A KV block of one head has 16 keys: whole words.
  const int64_t words = bytes / (2 * num_layers) / kWordBytes;
  for (int64_t half = 0; half < 2 * num_layers; ++half) {
    const KvCacheLayer& layer = rank.cache.layer(half / 2);
    std::byte* const memory = half % 2 == 0 ? layer.k : layer.v;
    const uint64_t seed = splitmix(of_seed + static_cast<uint64_t>(half));
    rank.pool->parallel_for(words, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const uint64_t random = splitmix(seed + static_cast<uint64_t>(i) * kSplitMixStep);
        const uint64_t keys = (random & kSignAndLowBits) | kExponentBit;
        std::memcpy(memory + i * kWordBytes, &keys, sizeof keys);
      }
    });
  }
}

int64_t cache_bytes_of(const ModelConfig& config, int64_t num_blocks) {
  return num_blocks * KvCache::block_bytes(config, DType::f8_e4m3);
}

/// ranks: null for one that has it all.
Result<CpuBenchRank> make_rank(const std::shared_ptr<const MiniMaxM2>& whole,
                               const CpuRanksOptions& options, const RankEnd& ranks) {
  const ModelConfig& config = whole->config();
  CpuBenchRank rank;
  rank.pool = options.pool;
  if (ranks != nullptr) {
    rank.pool = std::make_shared<ThreadPool>(
        share_of_processors(options.threads, ranks->size(), ranks->rank()).num_threads);
  }
  TETRAD_ASSIGN(std::shared_ptr<Kernels> kernels, make_named_kernels(options.kernels, rank.pool));
  rank.kernels = std::make_shared<TimedKernels>(std::move(kernels));
  if (ranks == nullptr) {
    rank.model = std::make_unique<MiniMaxM2>(config, whole->weights(), whole, rank.kernels);
  } else {
    TETRAD_ASSIGN(RankGroup group, RankGroup::join(config, options.layout, ranks));
    TETRAD_ASSIGN(MiniMaxM2Weights weights, share_weights(whole->weights(), config, group.share()));
    rank.model = std::make_unique<MiniMaxM2>(config, std::move(weights), whole, rank.kernels,
                                             std::move(group));
  }
  TETRAD_ASSIGN(const std::vector<KvScales> scales,
                resolve_kv_scales(whole->kv_scales(), DType::f8_e4m3, std::nullopt));
  const ModelConfig& local = rank.model->local_config();
  TETRAD_ASSIGN(rank.cache, KvCache::create(local, DType::f8_e4m3, options.num_kv_blocks, scales));
  fill_cache(rank, local.num_hidden_layers, cache_bytes_of(local, options.num_kv_blocks),
             options.seed);
  return rank;
}

/// As make_rank(), on this rank's processors; all succeed or fail together.
Result<CpuBenchRank> make_rank_among(const std::shared_ptr<const MiniMaxM2>& whole,
                                     const CpuRanksOptions& options, const RankEnd& ranks) {
  auto made = make_rank(whole, options, ranks);
  TETRAD_TRY(parallel::agree(*ranks, made));
  return made;
}

/// Computes what rank 0 points at until it points at nothing.
void follow(CpuBenchRank& rank, parallel::Communicator& ranks) {
  const Batch* batch = nullptr;
  while (ranks.broadcast(std::as_writable_bytes(std::span(&batch, 1)), 0) && batch != nullptr) {
    if (!rank.model->forward(*batch, rank.cache)) return;
  }
}

void tell(parallel::Communicator& ranks, const Batch* batch) {
  // Threads of one process: they are all there, and have its memory.
  static_cast<void>(ranks.broadcast(std::as_writable_bytes(std::span(&batch, 1)), 0));
}

}  // namespace

Result<std::unique_ptr<CpuBenchRanks>> CpuBenchRanks::create(
    const std::shared_ptr<const MiniMaxM2>& whole, const CpuRanksOptions& options) {
  const auto size = static_cast<int>(options.layout.tensor_parallel);
  if (size == 1) {
    TETRAD_ASSIGN(CpuBenchRank rank, make_rank(whole, options, nullptr));
    return std::unique_ptr<CpuBenchRanks>(new CpuBenchRanks(nullptr, nullptr, std::move(rank)));
  }
  auto ends = parallel::make_in_process_ranks(size, kThreadsDeadline);
  const RankEnd first(std::move(ends.front()));
  ends.erase(ends.begin());
  auto others =
      std::make_unique<RankThreads>(std::move(ends), [whole, options](const RankEnd& end) {
        const PinnedThread pinned(
            share_of_processors(options.threads, end->size(), end->rank()).processors);
        if (auto mine = make_rank_among(whole, options, end)) follow(*mine, *end);
      });
  // The threads that it starts stay where they are; this one goes on anywhere.
  const PinnedThread pinned(share_of_processors(options.threads, size, 0).processors);
  TETRAD_ASSIGN(CpuBenchRank rank, make_rank_among(whole, options, first));
  return std::unique_ptr<CpuBenchRanks>(
      new CpuBenchRanks(first, std::move(others), std::move(rank)));
}

CpuBenchRanks::~CpuBenchRanks() {
  if (ranks_ != nullptr) tell(*ranks_, nullptr);
}

Activations CpuBenchRanks::forward(const Batch& batch, const Observer* observer) {
  if (ranks_ != nullptr) tell(*ranks_, &batch);
  return first_.model->forward(batch, first_.cache, observer).value();
}

int64_t CpuBenchRanks::cache_bytes() const {
  const int64_t size = ranks_ == nullptr ? 1 : ranks_->size();
  return size * cache_bytes_of(first_.model->local_config(), first_.cache.num_blocks());
}

}  // namespace tetrad
