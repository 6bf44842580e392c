#pragma once

// The flags and the loading that every verb with a model in it shares.

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "engine/engine.h"
#include "model/device_model.h"
#include "model/kv_cache_format.h"
#include "model/minimax_m2.h"
#include "rank_flags.h"
#include "text/tokenizer.h"
#include "weight_reader.h"

namespace tetrad {

class RankSession;
class RankThreads;

struct ModelFlags {
  std::string model;
  std::string device = "cpu";
  std::string gpu_tuning;  // a file, "" for none
  std::string kernels = "auto";
  std::string dtype = "auto";
  std::string kv_cache_dtype = "auto";
  std::optional<float> kv_scale;
  int threads = 0;
  RankFlags ranks;
  /// Where there are many ranks, while run_with_ranks() runs.
  std::shared_ptr<RankSession> session;
};

/// MODEL, --device, --gpu-tuning, --kernels, --dtype, --kv-cache-dtype, --kv-scale, --threads and
/// the flags of ranks. The verb runs by run_with_ranks().
void add_model_flags(CLI::App& verb, ModelFlags& flags);

// Two of them alone, and what they choose: for verbs that load no checkpoint.
void add_kernels_flag(CLI::App& verb, std::string& kernels);
void add_threads_flag(CLI::App& verb, int& threads);

/// What a word after --kernels names; "reference" does without the pool.
Result<std::shared_ptr<Kernels>> make_named_kernels(
    const std::string& name, std::shared_ptr<ThreadPool> pool,
    ActivationType activations = ActivationType::int8);

/// What a word after --kv-cache-dtype names, in vLLM's spelling; none for "auto" and the unknown.
std::optional<DType> named_kv_cache_dtype(std::string_view name);

/// What --dtype says about activations.
ActivationType activations_of(const ModelFlags& flags);

/// What the flags say about the KV cache of a checkpoint with such scales. says_warnings: what is
/// odd about them is logged.
Result<KvCacheFormat> kv_cache_format(const ModelFlags& flags, const CheckpointKvScales& found,
                                      bool says_warnings = true);

/// Checks what follows --kv-cache-dtype: such a word, or "auto".
CLI::Validator a_kv_cache_dtype();

/// A checkpoint folder ready to compute.
struct LoadedModel {
  LoadedModel();
  ~LoadedModel();
  LoadedModel(const LoadedModel&) = delete;
  LoadedModel& operator=(const LoadedModel&) = delete;

  std::filesystem::path folder;
  std::shared_ptr<const Checkpoint> checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;
  KvCacheFormat kv_cache;
  /// On the CPU alone: for others to share the threads, and for what no GPU computes.
  std::shared_ptr<ThreadPool> pool;
  std::unique_ptr<RankThreads> rank_threads;  // where ranks are threads: all but this one
  std::unique_ptr<MiniMaxM2> cpu_model;       // of many ranks: the share of this one
  bool is_read = false;                       // cpu_model's weights need not be read ahead
  /// What computes, wherever that is.
  std::unique_ptr<DeviceModel> model;
  /// From generation_config.json, else the tokenizer's eos_token.
  std::vector<TokenId> eos_token_ids;
};

enum class TokenizerNeed {
  required,
  optional,  // a folder without tokenizer.json has none, and then no eos_token_ids
};

/// Errors name the flag at fault. What is odd about the KV scales in use is logged, and what
/// computes, if it is a GPU.
Result<std::unique_ptr<LoadedModel>> load_model(const ModelFlags& flags,
                                                TokenizerNeed need = TokenizerNeed::required);

/// Makes `model` on the CPU the one that computes.
void compute_on_cpu(LoadedModel& loaded, std::unique_ptr<MiniMaxM2> model, KvCacheFormat kv_cache);

/// The first step of load_model(): the checkpoint and its tokenizer, nothing that computes.
Result<std::unique_ptr<LoadedModel>> open_model_folder(const std::filesystem::path& folder,
                                                       TokenizerNeed need);

/// Reads what the model computes with ahead, for verbs that stay; null where a GPU has it, or ranks
/// that are processes have read their shares.
std::unique_ptr<WeightReader> read_ahead(const LoadedModel& loaded);

/// The tokens of a text file; special tokens in it are parsed.
Result<std::vector<TokenId>> encode_file(const Tokenizer& tokenizer, const std::string& path);

/// Engine options with what the model decides filled in; the caller sets its limits.
EngineOptions engine_options(const LoadedModel& loaded);

}  // namespace tetrad
