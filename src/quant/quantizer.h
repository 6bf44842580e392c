#pragma once

// A BF16, F16, F32 or block-FP8 checkpoint folder in, an mxfp4_16 checkpoint folder out.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/architecture.h"
#include "checkpoint/kv_scales.h"
#include "quant/quantize_matrix.h"

namespace tetrad {

struct QuantizeProgress {
  int64_t quantized_parameters = 0;
  int64_t total_parameters = 0;  // of the matrices to quantize
  int64_t shard = 0;             // being made, from 1
  int64_t num_shards = 0;
  std::string_view module;  // just quantized
};

struct QuantizeOptions {
  /// Tensor bytes of one file, and about the memory that is needed.
  int64_t max_shard_bytes = 5'000'000'000;
  int num_threads = 0;  // 0: one for each processor
  bool overwrite = false;
  bool dry_run = false;  // check and plan everything, write nothing
  std::function<void(const QuantizeProgress&)> on_progress;
  /// Measures the scales of every layer for an FP8 KV cache, which are written in the place of any
  /// that the source has. Called once all else has been checked; not in a dry run.
  std::function<Result<std::vector<KvScales>>()> calibrate_kv;
};

struct MatrixLoss {
  std::string module;
  TensorRole role = TensorRole::attention_projection;
  QuantizationLoss loss;
};

struct QuantizeReport {
  int64_t quantized_matrices = 0;
  int64_t quantized_parameters = 0;
  int64_t carried_tensors = 0;
  int64_t carried_parameters = 0;
  int64_t measured_kv_scales = 0;  // F32 tensors of one element
  int64_t source_bytes = 0;
  int64_t bytes = 0;
  int64_t num_shards = 0;
  std::vector<std::string> unknown_tensors;  // carried over
  std::vector<std::string> copied_files;     // beside the weights
  /// In the order of the forward pass; empty after a dry run.
  std::vector<MatrixLoss> matrices;
};

/// Quantizes all attention projections and experts of `source` and writes `destination`: weights
/// named as in mxfp4_16 spec, section 4.1, KV scales as in section 5, config.json, the index and
/// copies of the tokenizer files. The bytes written depend on the source, max_shard_bytes and the
/// KV scales alone. Each file appears when it is complete, the index last, so an interrupted run
/// leaves a folder that no reader takes for a checkpoint.
Result<QuantizeReport> quantize_checkpoint(const std::filesystem::path& source,
                                           const std::filesystem::path& destination,
                                           const QuantizeOptions& options);

}  // namespace tetrad
