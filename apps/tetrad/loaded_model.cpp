#include "loaded_model.h"

#include <utility>

#include "base/json.h"
#include "base/log.h"
#include "base/mapped_file.h"
#include "compute_device.h"
#include "gpu_device_flag.h"
#include "kernels/kernels.h"
#include "load_progress.h"
#include "model/cpu_model.h"
#include "model/gpu_device_model.h"
#include "model_ranks.h"
#include "number_flag.h"
#include "rank_session.h"

namespace tetrad {

std::optional<DType> named_kv_cache_dtype(std::string_view name) {
  if (name == "fp8" || name == "fp8_e4m3") return DType::f8_e4m3;
  if (name == "bf16" || name == "bfloat16") return DType::bf16;
  if (name == "float32" || name == "fp32") return DType::f32;
  return std::nullopt;
}

namespace {

/// The tokenizer's eos_token, for checkpoints whose generation_config.json names no end token.
Result<std::vector<TokenId>> eos_of_tokenizer(const std::filesystem::path& folder,
                                              const Tokenizer& tokenizer) {
  const auto path = folder / "tokenizer_config.json";
  TETRAD_ASSIGN(const std::string text, read_text_file(path));
  auto parsed = parse_json(text);
  if (!parsed) return tl::unexpected(std::move(parsed.error()).in(path.string()));
  const json::object* config = parsed->if_object();
  const json::value* eos = config != nullptr ? config->if_contains("eos_token") : nullptr;
  // Either the text itself or an AddedToken object that holds it as "content".
  if (eos != nullptr && eos->is_object()) eos = eos->get_object().if_contains("content");
  if (eos == nullptr || !eos->is_string()) {
    return fail(
        ErrorCode::corrupt_data,
        "{} has no \"eos_token\" and generation_config.json no \"eos_token_id\": the end of an "
        "answer cannot be known",
        path.string());
  }
  const auto id = tokenizer.find_added_token(std::string_view(eos->get_string()));
  if (!id) {
    return fail(ErrorCode::corrupt_data,
                "{}: the eos_token \"{}\" is not a token of tokenizer.json", path.string(),
                std::string_view(eos->get_string()));
  }
  return std::vector<TokenId>{*id};
}

/// The type that --kv-cache-dtype asks for.
DType kv_cache_dtype(const ModelFlags& flags, const CheckpointKvScales& found) {
  if (const auto named = named_kv_cache_dtype(flags.kv_cache_dtype)) return *named;
  if (is_gpu(flags.device)) return DType::f8_e4m3;
  return flags.dtype == "float32" ? DType::f32 : auto_kv_cache_dtype(found);
}

/// With TokenizerNeed::optional null where the folder has no tokenizer.json.
Result<std::unique_ptr<Tokenizer>> load_tokenizer(const std::filesystem::path& folder,
                                                  TokenizerNeed need) {
  const std::filesystem::path path = folder / "tokenizer.json";
  std::error_code ec;
  if (need == TokenizerNeed::optional && !std::filesystem::exists(path, ec)) return nullptr;
  TETRAD_ASSIGN(Tokenizer tokenizer, Tokenizer::from_file(path));
  return std::make_unique<Tokenizer>(std::move(tokenizer));
}

}  // namespace

LoadedModel::LoadedModel() = default;
LoadedModel::~LoadedModel() = default;

ActivationType activations_of(const ModelFlags& flags) {
  return flags.dtype == "float32" ? ActivationType::f32 : ActivationType::int8;
}

Result<KvCacheFormat> kv_cache_format(const ModelFlags& flags, const CheckpointKvScales& found,
                                      bool says_warnings) {
  KvCacheFormat format;
  format.dtype = kv_cache_dtype(flags, found);
  TETRAD_ASSIGN(format.scales, resolve_kv_scales(found, format.dtype, flags.kv_scale));
  if (says_warnings && format.dtype == DType::f8_e4m3 && !flags.kv_scale) {
    for (const std::string& warning : found.warnings)
      log::warn("{}", warning);
  }
  return format;
}

CLI::Validator a_kv_cache_dtype() {
  const auto check = [](const std::string& name) -> std::string {
    if (name == "auto" || named_kv_cache_dtype(name)) return {};
    return fmt::format("'{}' is not one of auto, fp8, fp8_e4m3, bf16, float32", name);
  };
  return {check, "TYPE", "KV cache type"};
}

void add_kernels_flag(CLI::App& verb, std::string& kernels) {
  verb.add_option("--kernels", kernels,
                  "auto, avx512, avx2, generic, or reference (scalar, slow, the definition)")
      ->check(CLI::IsMember({"auto", "avx512", "avx2", "generic", "reference"}));
}

void add_threads_flag(CLI::App& verb, int& threads) {
  verb.add_option("--threads", threads, "compute threads; 0: one for each processor")
      ->transform(as_whole_number({.from = 0, .to = 1024}));
}

Result<std::shared_ptr<Kernels>> make_named_kernels(const std::string& name,
                                                    std::shared_ptr<ThreadPool> pool,
                                                    ActivationType activations) {
  if (name == "reference") return std::shared_ptr<Kernels>(make_reference_kernels(activations));
  TETRAD_ASSIGN(std::unique_ptr<Kernels> kernels,
                make_cpu_kernels(std::move(pool), name, activations));
  return std::shared_ptr<Kernels>(std::move(kernels));
}

void add_model_flags(CLI::App& verb, ModelFlags& flags) {
  verb.add_option("MODEL", flags.model, "folder of a MiniMax-M2 checkpoint")->required();
  add_device_flag(verb, flags.device);
  add_gpu_tuning_flag(verb, flags.gpu_tuning);
  add_kernels_flag(verb, flags.kernels);
  verb.add_option("--dtype", flags.dtype,
                  "auto or bfloat16: activations meet mxfp4_16 weights in 8 bits with a scale for "
                  "each 16, and --kv-cache-dtype decides how keys and values are rounded; float32: "
                  "nothing is rounded. Weights stay packed and sums are float32 in both. A GPU "
                  "multiplies halves and takes auto or bfloat16 alone")
      ->check(CLI::IsMember({"auto", "bfloat16", "float32"}));
  verb.add_option(
          "--kv-cache-dtype", flags.kv_cache_dtype,
          "how keys and values are kept: fp8 (or fp8_e4m3), bf16, float32, or auto: as "
          "--dtype float32 says, else fp8 where the checkpoint has scales for it, else bf16; on "
          "a GPU fp8")
      ->check(a_kv_cache_dtype())
      ->capture_default_str();
  verb.add_option("--kv-scale", flags.kv_scale,
                  "scale of all keys and values in an fp8 cache, instead of the checkpoint's: 1.0")
      ->transform(as_number({.above = 0}));
  add_threads_flag(verb, flags.threads);
  add_rank_flags(verb, flags.ranks);
}

Result<std::unique_ptr<LoadedModel>> open_model_folder(const std::filesystem::path& folder,
                                                       TokenizerNeed need) {
  auto loaded = std::make_unique<LoadedModel>();
  loaded->folder = folder;
  TETRAD_ASSIGN(Checkpoint checkpoint, Checkpoint::open(loaded->folder));
  loaded->checkpoint = std::make_shared<const Checkpoint>(std::move(checkpoint));
  TETRAD_ASSIGN(loaded->tokenizer, load_tokenizer(loaded->folder, need));
  return loaded;
}

namespace {

/// What a GPU computes in is fixed; flags that say otherwise contradict --device.
Result<void> check_gpu_flags(const ModelFlags& flags) {
  if (flags.dtype == "float32") {
    return fail_param("--dtype",
                      "--dtype float32: --device {} multiplies halves; use --device cpu, or leave "
                      "--dtype out",
                      flags.device);
  }
  const auto kv_dtype = named_kv_cache_dtype(flags.kv_cache_dtype);
  if (kv_dtype && *kv_dtype != DType::f8_e4m3) {
    return fail_param("--kv-cache-dtype",
                      "--kv-cache-dtype {}: --device {} keeps keys and values in fp8; use --device "
                      "cpu, or leave --kv-cache-dtype out",
                      flags.kv_cache_dtype, flags.device);
  }
  if (flags.kernels != "auto") {
    return fail_param("--kernels",
                      "--kernels {}: these are the CPU's kernels, and --device {} has its own",
                      flags.kernels, flags.device);
  }
  if (flags.threads != 0) {
    return fail_param("--threads", "--threads {}: threads compute on --device cpu alone, not on {}",
                      flags.threads, flags.device);
  }
  return {};
}

Result<void> load_on_cpu(const ModelFlags& flags, LoadedModel& loaded) {
  if (!flags.gpu_tuning.empty()) {
    return fail_param("--gpu-tuning", "--gpu-tuning is for --device gpu, and this is --device {}",
                      flags.device);
  }
  if (flags.session != nullptr) return load_by_ranks(flags, *flags.session, loaded);
  loaded.pool = std::make_shared<ThreadPool>(flags.threads);
  TETRAD_ASSIGN(std::shared_ptr<Kernels> kernels,
                make_named_kernels(flags.kernels, loaded.pool, activations_of(flags)));
  TETRAD_ASSIGN(auto model, MiniMaxM2::load(loaded.checkpoint, std::move(kernels)));
  TETRAD_ASSIGN(KvCacheFormat format, kv_cache_format(flags, model->kv_scales()));
  compute_on_cpu(loaded, std::move(model), std::move(format));
  return {};
}

Result<void> load_on_gpu(const ModelFlags& flags, LoadedModel& loaded) {
  // What is wrong with the flags or the machine is said before a long way through the weights.
  TETRAD_TRY(check_gpu_flags(flags));
  if (flags.session != nullptr) return load_by_ranks(flags, *flags.session, loaded);
  TETRAD_ASSIGN(const MiniMaxM2Weights weights, MiniMaxM2Weights::load(*loaded.checkpoint));
  TETRAD_ASSIGN(loaded.kv_cache, kv_cache_format(flags, weights.kv_scales));
  TETRAD_ASSIGN(auto device, open_gpu_device(flags.device));
  TETRAD_ASSIGN(const gpu::GpuKernels kernels, find_gpu_kernels(*device, flags.gpu_tuning));
  TETRAD_ASSIGN(const gpu::DeviceInfo info, device->info());
  log::info("computing on {} ({}, driver {}), {:.1f} GiB of memory", info.name, info.architecture,
            info.driver, static_cast<double>(info.total_bytes) / (1 << 30));
  const WeightReader reader(loaded.checkpoint, WeightReader::Use::once);
  LoadProgressPrinter progress;
  TETRAD_ASSIGN(loaded.model,
                GpuDeviceModel::load(
                    loaded.checkpoint->config(), weights, loaded.kv_cache.scales, std::move(device),
                    kernels, [&](int64_t done, int64_t total) { progress.show(done, total); }));
  progress.finish();
  return {};
}

}  // namespace

void compute_on_cpu(LoadedModel& loaded, std::unique_ptr<MiniMaxM2> model, KvCacheFormat kv_cache) {
  loaded.cpu_model = std::move(model);
  loaded.kv_cache = std::move(kv_cache);
  loaded.model = std::make_unique<CpuModel>(*loaded.cpu_model, loaded.kv_cache);
}

Result<std::unique_ptr<LoadedModel>> load_model(const ModelFlags& flags, TokenizerNeed need) {
  TETRAD_ASSIGN(std::unique_ptr<LoadedModel> loaded, open_model_folder(flags.model, need));
  TETRAD_TRY(is_gpu(flags.device) ? load_on_gpu(flags, *loaded) : load_on_cpu(flags, *loaded));
  loaded->eos_token_ids = loaded->checkpoint->generation_defaults().eos_token_ids;
  if (loaded->eos_token_ids.empty() && loaded->tokenizer != nullptr) {
    TETRAD_ASSIGN(loaded->eos_token_ids, eos_of_tokenizer(loaded->folder, *loaded->tokenizer));
  }
  return loaded;
}

std::unique_ptr<WeightReader> read_ahead(const LoadedModel& loaded) {
  if (loaded.cpu_model == nullptr || loaded.is_read) return nullptr;
  return std::make_unique<WeightReader>(loaded.checkpoint, WeightReader::Use::every_step);
}

Result<std::vector<TokenId>> encode_file(const Tokenizer& tokenizer, const std::string& path) {
  TETRAD_ASSIGN(const std::string text, read_text_file(path));
  auto ids = tokenizer.encode(text);
  if (!ids) return tl::unexpected(std::move(ids.error()).in(path));
  return ids;
}

EngineOptions engine_options(const LoadedModel& loaded) {
  EngineOptions options;
  options.eos_token_ids = loaded.eos_token_ids;
  return options;
}

}  // namespace tetrad
