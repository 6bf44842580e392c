#pragma once

// A checkpoint folder in, a checkpoint folder of another weight format out.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/architecture.h"
#include "quant/encode_matrix.h"
#include "quant/module_encoder.h"
#include "quant/quantize_plan.h"

namespace tetrad {

struct QuantizeProgress {
  int64_t modules = 0;  // made or found made
  int64_t total_modules = 0;
  int64_t parameters = 0;  // of the encoded matrices among them
  int64_t total_parameters = 0;
  /// Of `parameters`, what an earlier run has made.
  int64_t resumed_parameters = 0;
  int64_t shard = 0;  // being made, from 1
  int64_t num_shards = 0;
  std::string_view module;  // the last
};

struct QuantizeOptions {
  TargetFormat format = TargetFormat::mxfp4_16;
  ScaleSearch search = ScaleSearch::exact;
  /// Patterns (quant/name_pattern.h) of modules that stay dense.
  std::vector<std::string> keep;
  /// Tensor bytes of one file. It does not bear on the memory that is needed.
  int64_t max_shard_bytes = 5'000'000'000;
  int num_threads = 0;     // 0: one for each processor
  bool overwrite = false;  // start anew, whatever the quantizer has left or made there
  bool dry_run = false;    // check and plan everything, write nothing
  /// After each module.
  std::function<void(const QuantizeProgress&)> on_progress;
  /// Asked before each module; true ends the run (cancelled), which can be continued.
  std::function<bool()> should_stop;
  /// What encodes; it outlives the call. Nothing: encode_matrix() with `search`.
  ModuleEncoder* encoder = nullptr;
};

struct MatrixLoss {
  std::string module;
  TensorRole role = TensorRole::attention_projection;
  QuantizationLoss loss;
};

struct QuantizeReport {
  PlannedPart quantized;    // matrices in the wanted format
  PlannedPart dequantized;  // matrices that became BF16, where that is not the wanted format
  PlannedPart carried;      // tensors
  PlannedPart kv_scales;    // measured, tensors
  int64_t source_bytes = 0;
  int64_t bytes = 0;
  int64_t num_shards = 0;
  int64_t kept_modules = 0;
  int64_t working_set_bytes = 0;             // see working_set_bytes()
  std::vector<std::string> unknown_tensors;  // carried over
  std::vector<std::string> copied_files;     // beside the weights
  /// The destination was the finished work of this very run before; it has been verified.
  bool was_complete = false;
  /// Matrices that are not in the wanted format already, in the order of the forward pass, those
  /// that an earlier run has made included; empty after a dry run and where it was complete.
  std::vector<MatrixLoss> matrices;
  /// Of a dry run: what encoding would take with these threads, by a sample of the first matrix and
  /// without what an encoder of the caller's would add; 0 where nothing is to be encoded.
  double estimated_seconds = 0;
};

/// What quantizing takes in memory at most, beside the program itself (some 15 MB):
///
///   the largest of all modules' (source bytes + written bytes + 80 · rows)
///   + threads · (256 KiB + 4 · R · the widest matrix's input channels)
///   + 5 KiB for each module of the plan, for names and digests
///
/// where R, the rows that a thread has in float, is 128 for fp8_block and else 1. For a module that
/// is carried over, source and written bytes are 4 MiB at most. So neither the size of the shards
/// nor, but for the names, the number of layers bear on it: the pages of the source are mapped, and
/// released after each module. ModuleEncoder::working_set_bytes() comes on top.
int64_t working_set_bytes(const QuantizePlan& plan, int num_threads);

/// Writes `destination`: weights as plan_quantization() says, KV scales as mxfp4_16 spec, section
/// 5, config.json, copies of the tokenizer files, quantize_manifest.json and, last, the index,
/// without which no reader takes the folder for a checkpoint. The bytes depend on what
/// run_identity() has, alone.
///
/// Whatever ends a run before its end (a crash, a full disk, should_stop), the same call continues
/// it, at the first module that is not there; the result is the same as of an undisturbed run. A
/// destination that is complete is verified. Errors besides: a destination of another run, or one
/// that another process is writing.
Result<QuantizeReport> quantize_checkpoint(const std::filesystem::path& source,
                                           const std::filesystem::path& destination,
                                           const QuantizeOptions& options);

}  // namespace tetrad
