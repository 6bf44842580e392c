#include "model/kv_cache.h"

#include <sys/mman.h>

#include "base/checked_math.h"

namespace tetrad {

int64_t KvCache::block_bytes(const ModelConfig& config, DType dtype) {
  return 2 * config.num_hidden_layers * config.kv_size() * kKvBlockSize *
         static_cast<int64_t>(dtype_size(dtype));
}

void UnmapPages::operator()(std::byte* memory) const {
  ::munmap(memory, bytes);
}

Result<KvCache> KvCache::create(const ModelConfig& config, DType dtype, int64_t num_blocks) {
  if (dtype != DType::f32 && dtype != DType::bf16) {
    return fail(ErrorCode::unsupported, "a KV cache of {} is not supported; use F32 or BF16",
                dtype_name(dtype));
  }
  const auto total = checked_mul(static_cast<uint64_t>(num_blocks),
                                 static_cast<uint64_t>(block_bytes(config, dtype)));
  if (num_blocks <= 0 || !total) {
    return fail(ErrorCode::invalid_argument, "a KV cache of {} blocks is not possible", num_blocks);
  }
  // Anonymous pages cost nothing until a token is written to them, and are zero then.
  void* memory = ::mmap(nullptr, *total, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return fail(ErrorCode::resource_exhausted,
                "cannot reserve {} MiB for {} KV blocks; lower --max-model-len or --max-num-seqs",
                *total >> 20, num_blocks);
  }
  ::madvise(memory, *total, MADV_HUGEPAGE);

  KvCache cache;
  cache.memory_ = std::unique_ptr<std::byte[], UnmapPages>(static_cast<std::byte*>(memory),
                                                           UnmapPages{static_cast<size_t>(*total)});
  cache.num_blocks_ = num_blocks;
  cache.dtype_ = dtype;
  const int64_t half_layer =
      num_blocks * config.kv_size() * kKvBlockSize * static_cast<int64_t>(dtype_size(dtype));
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    std::byte* k = cache.memory_.get() + 2 * layer * half_layer;
    cache.layers_.push_back(KvCacheLayer{.dtype = dtype,
                                         .k = k,
                                         .v = k + half_layer,
                                         .num_blocks = num_blocks,
                                         .num_kv_heads = config.num_key_value_heads,
                                         .head_dim = config.head_dim});
  }
  return cache;
}

}  // namespace tetrad
