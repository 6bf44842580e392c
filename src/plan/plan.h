#pragma once

// `tetrad plan`: what a model takes on GPUs that need not be there.

#include <cstdint>
#include <optional>
#include <vector>

#include "base/error.h"
#include "plan/byte_size.h"
#include "plan/gpu_memory.h"
#include "plan/planned_model.h"
#include "plan/roofline.h"
#include "plan/sharding.h"
#include "plan/step_forecast.h"

namespace tetrad::plan {

struct PlanRequest {
  GpuSet gpus;
  /// Ranks of one replica; absent: all GPUs. What is left over makes more replicas.
  std::optional<int64_t> tensor_parallel;
  bool expert_parallel = false;
  StepLimits limits;
  std::optional<int64_t> max_model_len;  // absent: the model's max_position_embeddings
  /// F32, BF16 or F8_E4M3. Absent: F8_E4M3 where the checkpoint has scales for it, else BF16.
  std::optional<DType> kv_cache_dtype;
  double gpu_memory_utilization = 0.9;
  /// Of one GPU; instead of what gpu_memory_utilization leaves.
  std::optional<int64_t> kv_cache_memory;
  MachineRates rates;
  Interconnect link;
  std::vector<int64_t> batches;    // to forecast; empty: 1, 8 and max_num_seqs
  std::optional<int64_t> context;  // tokens, to forecast; absent: 32768 or max_model_len
};

/// Of one GPU, in bytes.
struct MemoryBudget {
  int64_t total = 0;
  WeightMemory weights;
  int64_t workspace = 0;
  int64_t kv_cache = 0;  // in whole blocks
  int64_t free() const { return total - weights.total() - workspace - kv_cache; }
};

struct KvCapacity {
  DType dtype = DType::f8_e4m3;
  int64_t token_bytes = 0;           // on one GPU
  int64_t token_bytes_in_all = 0;    // on all GPUs of a replica
  int64_t blocks = 0;                // of kBlockTokens, in one replica
  int64_t full_length_requests = 0;  // of max_model_len, at the same time, in one replica

  int64_t tokens() const { return blocks * kBlockTokens; }
};

struct PlannedShard {
  WeightClass weight;
  Shard shard;
};

struct Plan {
  Layout layout;
  int64_t replicas = 1;
  int64_t max_model_len = 0;
  MemoryBudget memory;
  KvCapacity kv;
  std::vector<DecodeForecast> decode;
  std::vector<PrefillForecast> prefill;
  std::vector<LayoutForecast> layouts;  // of sizes up to gpus.count
  std::vector<PlannedShard> shards;
  std::vector<Finding> findings;
  std::vector<int64_t> dividing_sizes;  // tensor-parallel sizes up to 64 with nothing to report

  bool has_errors() const;
};

/// A request that makes no sense is an Error that names the flag; what does not fit or divide is in
/// the plan's findings, beside the figures.
Result<Plan> make_plan(const PlannedModel& model, const PlanRequest& request);

}  // namespace tetrad::plan
