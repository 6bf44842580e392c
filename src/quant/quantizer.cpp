#include "quant/quantizer.h"

#include <list>
#include <utility>

#include "base/pending_file.h"
#include "checkpoint/checkpoint.h"
#include "quant/destination.h"
#include "quant/pretty_json.h"
#include "quant/quantize_plan.h"
#include "quant/quantized_config.h"

namespace tetrad {
namespace {

class Quantizer {
 public:
  Quantizer(const Checkpoint& source, const std::filesystem::path& destination,
            const QuantizePlan& plan, const QuantizeOptions& options,
            std::span<const KvScales> kv_scales)
      : source_(source),
        destination_(destination),
        plan_(plan),
        kv_scales_(kv_scales),
        options_(options),
        pool_(options.num_threads) {}

  /// The index comes last: it makes the folder a checkpoint.
  Result<std::vector<MatrixLoss>> run() {
    progress_.total_parameters = plan_.quantized_parameters;
    progress_.num_shards = static_cast<int64_t>(plan_.shards.size());
    for (const PlannedShard& shard : plan_.shards) {
      ++progress_.shard;
      TETRAD_TRY(write_shard(shard));
    }
    const json::object index = {{"metadata", {{"total_size", plan_.bytes}}},
                                {"weight_map", std::move(weight_map_)}};
    TETRAD_TRY(write_text_file(destination_ / kIndexFileName, to_pretty_json(index)));
    return std::move(losses_);
  }

 private:
  Result<void> write_shard(const PlannedShard& shard) {
    std::vector<TensorToWrite> tensors;
    std::list<QuantizedMatrix> quantized;  // what `tensors` points into
    for (const PlannedModule& module : shard.modules) {
      for (const std::string& name : module.carried_tensors) {
        const TensorView& view = *source_.find(name);
        tensors.push_back({name, view.dtype, view.shape, view.bytes});
      }
      if (module.kv_scales_of_layer) add_kv_scales(module, tensors);
      if (!module.source) continue;
      const WeightMatrix& source = *module.source;
      TETRAD_ASSIGN(QuantizedMatrix matrix, quantize(module, source));
      quantized.push_back(std::move(matrix));
      const std::vector<int64_t> packed_shape = {source.rows, source.cols / 2};
      const std::vector<int64_t> scale_shape = {source.rows, source.cols / kMxfp4GroupSize};
      tensors.push_back(
          {module.name + ".weight_packed", DType::u8, packed_shape, quantized.back().packed});
      tensors.push_back(
          {module.name + ".weight_scale", DType::f16, scale_shape, quantized.back().scales});
    }
    const std::string file =
        fmt::format("model-{:05}-of-{:05}.safetensors", progress_.shard, progress_.num_shards);
    for (const TensorToWrite& tensor : tensors)
      weight_map_[tensor.name] = file;
    return write_safetensors(destination_ / file, tensors);
  }

  void add_kv_scales(const PlannedModule& module, std::vector<TensorToWrite>& tensors) const {
    const KvScales& scales = kv_scales_[static_cast<size_t>(*module.kv_scales_of_layer)];
    const auto add = [&](const char* name, const float& scale) {
      tensors.push_back({module.name + name, DType::f32, {1}, std::as_bytes(std::span(&scale, 1))});
    };
    add(".k_scale", scales.k);
    add(".v_scale", scales.v);
  }

  Result<QuantizedMatrix> quantize(const PlannedModule& module, const WeightMatrix& source) {
    auto matrix = quantize_matrix(module.name, source, pool_);
    if (!matrix) {
      const std::string shard = source_.shard_of(module.name + ".weight");
      return tl::unexpected(std::move(matrix.error()).in((source_.folder() / shard).string()));
    }
    losses_.push_back({module.name, module.role, matrix->loss});
    progress_.quantized_parameters += source.rows * source.cols;
    progress_.module = module.name;
    if (options_.on_progress) options_.on_progress(progress_);
    return matrix;
  }

  const Checkpoint& source_;
  const std::filesystem::path& destination_;
  const QuantizePlan& plan_;
  std::span<const KvScales> kv_scales_;
  const QuantizeOptions& options_;
  ThreadPool pool_;
  QuantizeProgress progress_;
  json::object weight_map_;
  std::vector<MatrixLoss> losses_;
};

/// Calibration is a caller's: what it returns is checked before hours of work rest on it.
Result<std::vector<KvScales>> measure_kv_scales(const QuantizeOptions& options, int64_t layers) {
  if (!options.calibrate_kv) return {};
  TETRAD_ASSIGN(std::vector<KvScales> scales, options.calibrate_kv());
  if (!std::cmp_equal(scales.size(), layers)) {
    return fail(ErrorCode::internal, "calibration gave KV scales for {} layers, not for {}",
                scales.size(), layers);
  }
  return scales;
}

QuantizeReport report_of(const QuantizePlan& plan) {
  QuantizeReport report;
  report.quantized_matrices = plan.quantized_matrices;
  report.quantized_parameters = plan.quantized_parameters;
  report.carried_tensors = plan.carried_tensors;
  report.carried_parameters = plan.carried_parameters;
  report.measured_kv_scales = plan.measured_kv_scales;
  report.source_bytes = plan.source_bytes;
  report.bytes = plan.bytes;
  report.num_shards = static_cast<int64_t>(plan.shards.size());
  report.unknown_tensors = plan.unknown_tensors;
  return report;
}

}  // namespace

Result<QuantizeReport> quantize_checkpoint(const std::filesystem::path& source,
                                           const std::filesystem::path& destination,
                                           const QuantizeOptions& options) {
  TETRAD_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(source));
  TETRAD_ASSIGN(
      const QuantizePlan plan,
      plan_quantization(checkpoint, options.max_shard_bytes,
                        options.calibrate_kv ? KvScalesFrom::calibration : KvScalesFrom::source));
  TETRAD_TRY(check_destination(destination, checkpoint, plan.bytes, options.overwrite));
  QuantizeReport report = report_of(plan);
  if (options.dry_run) return report;
  TETRAD_ASSIGN(const std::vector<KvScales> kv_scales,
                measure_kv_scales(options, checkpoint.config().num_hidden_layers));

  TETRAD_TRY(prepare_destination(destination));
  // Before the weights, so that an interrupted folder can be told from someone else's.
  TETRAD_TRY(write_text_file(
      destination / "config.json",
      to_pretty_json(quantized_config(checkpoint.config().raw, plan.has_kv_scales))));
  TETRAD_ASSIGN(report.copied_files, copy_companions(source, destination));
  TETRAD_ASSIGN(report.matrices,
                Quantizer(checkpoint, destination, plan, options, kv_scales).run());
  return report;
}

}  // namespace tetrad
