#pragma once

// The flags and the loading that every verb with a model in it shares.

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "engine/engine.h"
#include "model/minimax_m2.h"
#include "text/tokenizer.h"

namespace tetrad {

struct ModelFlags {
  std::string model;
  std::string kernels = "auto";
  std::string dtype = "auto";
  int threads = 0;
};

/// MODEL, --kernels, --dtype, --threads.
void add_model_flags(CLI::App& verb, ModelFlags& flags);

/// A checkpoint folder ready to compute.
struct LoadedModel {
  std::filesystem::path folder;
  std::shared_ptr<const Checkpoint> checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<MiniMaxM2> model;
  DType kv_cache_dtype = DType::bf16;
  /// From generation_config.json, else the tokenizer's eos_token.
  std::vector<TokenId> eos_token_ids;
};

Result<std::unique_ptr<LoadedModel>> load_model(const ModelFlags& flags);

/// Engine options with what the model decides filled in; the caller sets its limits.
EngineOptions engine_options(const LoadedModel& loaded);

}  // namespace tetrad
