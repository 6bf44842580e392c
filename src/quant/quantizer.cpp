#include "quant/quantizer.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include "base/digest.h"
#include "base/file_lock.h"
#include "base/pending_file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/shard_index.h"
#include "quant/destination.h"
#include "quant/pretty_json.h"
#include "quant/quantize_journal.h"
#include "quant/quantize_manifest.h"
#include "quant/quantized_config.h"
#include "quant/run_identity.h"
#include "quant/shard_work.h"

namespace tetrad {
namespace {

namespace fs = std::filesystem;

/// The run itself: everything has been checked, the folder is there and locked.
class Quantizer {
 public:
  Quantizer(const Checkpoint& source, const fs::path& destination, const QuantizePlan& plan,
            const QuantizeOptions& options, ModuleEncoder& encoder, json::object identity)
      : source_(source),
        destination_(destination),
        plan_(plan),
        options_(options),
        encoder_(encoder),
        pool_(options.num_threads) {
    manifest_.run = std::move(identity);
  }

  Result<void> run(QuantizeJournal& journal, QuantizeReport& report) {
    const json::object config = quantized_config(
        source_.config().raw, {options_.format, plan_.has_kv_scales, plan_.kept_modules});
    TETRAD_TRY(write("config.json", to_pretty_json(config)));
    TETRAD_ASSIGN(report.copied_files, copy_companions(source_.folder(), destination_));
    for (const std::string& name : report.copied_files)
      TETRAD_TRY(enter_copy(name));
    TETRAD_TRY(make_shards(journal));
    report.matrices = std::move(losses_);
    return finish(journal);
  }

 private:
  Result<void> make_shards(QuantizeJournal& journal) {
    progress_.total_modules = plan_.num_modules();
    progress_.total_parameters = plan_.quantized.parameters + plan_.dequantized.parameters;
    progress_.num_shards = static_cast<int64_t>(plan_.shards.size());
    const ShardTools tools{
        .source = source_,
        .encoder = encoder_,
        .pool = pool_,
        .journal = journal,
        .before_module = [this] { return check_stop(); },
        .on_module = [this](const PlannedModule& module, const FinishedModule& finished,
                            bool was_there) { enter_module(module, finished, was_there); }};
    for (const PlannedShard& shard : plan_.shards) {
      ++progress_.shard;
      const std::string name =
          fmt::format("model-{:05}-of-{:05}.safetensors", progress_.shard, progress_.num_shards);
      TETRAD_TRY(make_shard(tools, shard, progress_.shard, destination_ / name));
      manifest_.files[name] = *journal.file_of(progress_.shard);
      for (const PlannedModule& module : shard.modules) {
        for (const TensorHeader& tensor : module.tensors)
          weight_map_[tensor.name] = name;
      }
    }
    return {};
  }

  Result<void> check_stop() const {
    if (!options_.should_stop || !options_.should_stop()) return {};
    return fail(ErrorCode::cancelled,
                "stopped after {} of {} modules; the same command{} goes on from there",
                progress_.modules, progress_.total_modules,
                options_.overwrite ? " without --overwrite" : "");
  }

  void enter_module(const PlannedModule& module, const FinishedModule& finished, bool was_there) {
    ++progress_.modules;
    progress_.parameters += module.parameters();
    if (was_there) progress_.resumed_parameters += module.parameters();
    progress_.module = module.name;
    if (module.source && module.format == options_.format && finished.loss) {
      losses_.push_back({module.name, module.role, *finished.loss});
    }
    if (options_.on_progress) options_.on_progress(progress_);
  }

  Result<void> write(const std::string& name, const std::string& text) {
    manifest_.files[name] = {text.size(), digest_of(text)};
    return write_text_file(destination_ / name, text);
  }

  Result<void> enter_copy(const std::string& name) {
    FinishedFile& file = manifest_.files[name];
    std::error_code error;
    file.bytes = fs::file_size(destination_ / name, error);
    TETRAD_ASSIGN(file.digest, digest_of_file(destination_ / name));
    return {};
  }

  /// The index comes last: it makes the folder a checkpoint. What it says goes into the manifest
  /// before, though.
  Result<void> finish(QuantizeJournal& journal) {
    const std::string index = to_pretty_json(json::object{
        {"metadata", {{"total_size", plan_.bytes}}}, {"weight_map", std::move(weight_map_)}});
    manifest_.files[kIndexFileName] = {index.size(), digest_of(index)};
    TETRAD_TRY(
        write_text_file(destination_ / kManifestFileName, to_pretty_json(manifest_.to_json())));
    TETRAD_TRY(write_text_file(destination_ / kIndexFileName, index));
    return journal.remove();
  }

  const Checkpoint& source_;
  const fs::path& destination_;
  const QuantizePlan& plan_;
  const QuantizeOptions& options_;
  ModuleEncoder& encoder_;
  ThreadPool pool_;
  QuantizeProgress progress_;
  QuantizeManifest manifest_;
  json::object weight_map_;
  std::vector<MatrixLoss> losses_;
};

QuantizeReport report_of(const QuantizePlan& plan, const ModuleEncoder& encoder, int num_threads) {
  QuantizeReport report;
  report.quantized = plan.quantized;
  report.dequantized = plan.dequantized;
  report.carried = plan.carried;
  report.kv_scales = plan.kv_scales;
  report.source_bytes = plan.source_bytes;
  report.bytes = plan.bytes;
  report.num_shards = static_cast<int64_t>(plan.shards.size());
  report.kept_modules = static_cast<int64_t>(plan.kept_modules.size());
  report.working_set_bytes = working_set_bytes(plan, num_threads) + encoder.working_set_bytes();
  report.unknown_tensors = plan.unknown_tensors;
  return report;
}

/// Encodes some rows of the first matrix to be encoded. A bad weight in them is no error here: the
/// run itself will say where it is.
double estimate_seconds(const Checkpoint& source, const QuantizePlan& plan,
                        const QuantizeOptions& options) {
  constexpr int64_t kSampleRows = 2 * kFp8BlockSize;
  for (const PlannedShard& shard : plan.shards) {
    for (const PlannedModule& module : shard.modules) {
      if (!module.source || module.format != options.format) continue;
      WeightMatrix sample = *module.source;
      sample.rows = std::min(sample.rows, kSampleRows);
      ThreadPool pool(options.num_threads);
      const auto start = std::chrono::steady_clock::now();
      const auto encoded = encode_matrix(
          module.name, sample, {.format = options.format, .search = options.search}, {}, pool);
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
      for (const std::string& name : module.source_tensors)
        source.release(name);
      if (!encoded) return 0;
      return taken.count() * static_cast<double>(plan.quantized.parameters) /
             static_cast<double>(sample.rows * sample.cols);
    }
  }
  return 0;
}

Result<void> create_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error) return {};
  return fail(ErrorCode::io, "cannot create {}: {}", folder.string(), error.message());
}

tl::unexpected<Error> other_run(const fs::path& folder, std::string_view kind,
                                const std::string& difference) {
  return fail(ErrorCode::invalid_argument,
              "{} holds {} of tetrad quantize that is not this one: {}; name another folder, or "
              "pass --overwrite to start anew",
              folder.string(), kind, difference);
}

/// Whether the folder, which is complete, is what this run would make.
Result<void> verify_complete(const fs::path& folder, const json::object& identity) {
  TETRAD_ASSIGN(const QuantizeManifest manifest, QuantizeManifest::read(folder));
  const std::string difference = identity_difference(manifest.run, identity);
  if (!difference.empty()) return other_run(folder, "the result of a run", difference);
  auto verified = manifest.verify(folder);
  if (verified) return {};
  verified.error().message += "; pass --overwrite to make the checkpoint anew";
  return verified;
}

/// The journal of this run: a new one, or that of the folder.
Result<QuantizeJournal> open_journal(const fs::path& folder, const json::object& identity,
                                     bool overwrite) {
  if (!overwrite && destination_state(folder) == DestinationState::unfinished) {
    TETRAD_ASSIGN(QuantizeJournal journal, QuantizeJournal::open(folder));
    const std::string difference = identity_difference(journal.identity(), identity);
    if (!difference.empty()) return other_run(folder, "an unfinished run", difference);
    return journal;
  }
  TETRAD_TRY(clear_destination(folder));
  return QuantizeJournal::create(folder, identity);
}

}  // namespace

int64_t working_set_bytes(const QuantizePlan& plan, int num_threads) {
  constexpr int64_t kThreadBytes = int64_t{256} << 10;
  constexpr int64_t kRowBytes = 80;
  constexpr int64_t kNameBytes = int64_t{5} << 10;
  int64_t largest = 0;
  int64_t most_floats = 0;  // of a thread
  for (const PlannedShard& shard : plan.shards) {
    for (const PlannedModule& module : shard.modules) {
      int64_t held = 2 * std::min(module.bytes, static_cast<int64_t>(kCopyBytes));
      if (const auto& matrix = module.source) {
        const int64_t rows = module.format == TargetFormat::fp8_block ? kFp8BlockSize : 1;
        most_floats = std::max(most_floats, rows * matrix->cols);
        held = matrix->total_bytes() + module.bytes + kRowBytes * matrix->rows;
      }
      largest = std::max(largest, held);
    }
  }
  const int64_t threads = num_threads > 0 ? num_threads : available_processors();
  return largest + threads * (kThreadBytes + int64_t{sizeof(float)} * most_floats) +
         kNameBytes * plan.num_modules();
}

Result<QuantizeReport> quantize_checkpoint(const fs::path& source, const fs::path& destination,
                                           const QuantizeOptions& options) {
  TETRAD_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(source));
  PlainEncoder plain(options.search);
  ModuleEncoder& encoder = options.encoder != nullptr ? *options.encoder : plain;
  TETRAD_ASSIGN(
      const QuantizePlan plan,
      plan_quantization(checkpoint, {.format = options.format,
                                     .max_shard_bytes = options.max_shard_bytes,
                                     .keep = options.keep,
                                     .measures_kv_scales = encoder.measures_kv_scales()}));
  TETRAD_TRY(check_destination(destination, checkpoint, plan.bytes, options.overwrite));
  QuantizeReport report = report_of(plan, encoder, options.num_threads);
  if (options.dry_run) {
    report.estimated_seconds = estimate_seconds(checkpoint, plan, options);
    return report;
  }
  TETRAD_ASSIGN(json::object identity,
                run_identity(checkpoint, {.format = options.format,
                                          .max_shard_bytes = options.max_shard_bytes,
                                          .keep = options.keep,
                                          .encoder = encoder.identity()}));

  TETRAD_TRY(create_folder(destination));
  TETRAD_ASSIGN(const FileLock lock, FileLock::take(destination / kLockFileName));
  if (!options.overwrite && destination_state(destination) == DestinationState::complete) {
    TETRAD_TRY(verify_complete(destination, identity));
    report.was_complete = true;
    return report;
  }
  TETRAD_ASSIGN(QuantizeJournal journal, open_journal(destination, identity, options.overwrite));
  TETRAD_TRY(Quantizer(checkpoint, destination, plan, options, encoder, std::move(identity))
                 .run(journal, report));
  return report;
}

}  // namespace tetrad
