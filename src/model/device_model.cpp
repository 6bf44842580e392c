#include "model/device_model.h"

#include <unistd.h>

#include <algorithm>

namespace tetrad {

Result<int64_t> kv_blocks_in(int64_t bytes, int64_t max_model_len, int64_t block_bytes) {
  const int64_t one_sequence = kv_blocks_for(max_model_len);
  const int64_t num_blocks = bytes / block_bytes;
  const int64_t needed_mib = (one_sequence * block_bytes >> 20) + 1;
  if (num_blocks <= 0) {
    return fail_param("--kv-cache-memory",
                      "{} bytes of KV cache hold no token; one sequence of {} takes {} MiB", bytes,
                      max_model_len, needed_mib);
  }
  if (num_blocks < one_sequence) {
    return fail_param("--max-model-len",
                      "{} MiB of KV cache hold {} tokens, fewer than one sequence of {}; use "
                      "--max-model-len {}, or give the cache {} MiB",
                      bytes >> 20, num_blocks * kKvBlockSize, max_model_len,
                      num_blocks * kKvBlockSize, needed_mib);
  }
  return num_blocks;
}

int64_t shared_kv_cache_bytes(const StepLimits& limits, int64_t block_bytes, int64_t ranks_here) {
  return std::min(limits.max_num_seqs * kv_blocks_for(limits.max_model_len) * block_bytes,
                  machine_memory() / 4 / ranks_here);
}

int64_t machine_memory() {
  return int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
}

}  // namespace tetrad
