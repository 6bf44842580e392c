#pragma once

// A model on whatever computes it, processors or a GPU, as those see it who bring their tokens:
// the engine and SequenceRunner.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/dtype.h"
#include "base/error.h"
#include "checkpoint/config.h"
#include "model/step_model.h"

namespace tetrad {

/// The largest steps that a model is asked for.
struct StepLimits {
  int64_t max_model_len = 0;           // tokens of a sequence
  int64_t max_num_seqs = 0;            // sequences of a step
  int64_t max_num_batched_tokens = 0;  // tokens of a step
  /// Who asks computes one sequence after the other and has none of the engine's flags, so that an
  /// error must not tell him to change one.
  bool one_sequence = false;
};

/// How much memory the KV cache gets. With neither, what the device's kind gives by default.
struct KvMemory {
  int64_t bytes = 0;                  // 0: not said
  std::optional<double> utilization;  // of the device's memory, everything together; (0, 1]
};

/// Ready to compute steps within the limits.
struct StartedModel {
  std::unique_ptr<StepModel> steps;
  int64_t num_kv_blocks = 0;
};

class DeviceModel {
 public:
  virtual ~DeviceModel() = default;

  virtual const ModelConfig& config() const = 0;
  /// "cpu", "NVIDIA H200", "emulated nvidia".
  virtual const std::string& device() const = 0;
  /// What its kernels were made for: "avx512", "sm_90", "emulated-gfx12".
  virtual const std::string& kernels() const = 0;
  /// In which the KV cache keeps keys and values.
  virtual DType kv_dtype() const = 0;
  /// Bytes that one block of the KV cache takes over all layers.
  virtual int64_t kv_block_bytes() const = 0;

  /// Makes room for steps within `limits` and for a KV cache, which holds a sequence of
  /// max_model_len or more. The steps must go before the model does; of those on a GPU there may be
  /// one at a time. Errors name the flag that is to be changed, the sizes and what would fit.
  virtual Result<StartedModel> start(const StepLimits& limits, const KvMemory& memory) = 0;
};

/// Blocks in so many bytes. Errors: --kv-cache-memory, --max-model-len, if one sequence of
/// max_model_len does not fit.
Result<int64_t> kv_blocks_in(int64_t bytes, int64_t max_model_len, int64_t block_bytes);

/// What the cache gets where it shares this machine's memory with everybody: room for max_num_seqs
/// sequences of max_model_len, but at most a quarter of the memory, for all `ranks_here` together
/// that share it.
int64_t shared_kv_cache_bytes(const StepLimits& limits, int64_t block_bytes,
                              int64_t ranks_here = 1);

/// This machine's memory, bytes.
int64_t machine_memory();

}  // namespace tetrad
