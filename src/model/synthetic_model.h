#pragma once

// A MiniMax-M2 with random weights in memory: what has the size and the speed of a real model, for
// benchmarks, without its files.

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/error.h"
#include "base/thread_pool.h"
#include "checkpoint/config.h"
#include "kernels/kernels.h"
#include "model/minimax_m2.h"

namespace tetrad {

/// The sizes that may differ from MiniMax-M2.7's, which these are but for `layers` (62 there).
struct SyntheticShape {
  int64_t layers = 4;
  int64_t experts = 256;
  int64_t vocab = 200064;
  int64_t hidden = 3072;
  int64_t intermediate = 1536;  // of one expert
  int64_t heads = 48;
  int64_t kv_heads = 8;
  int64_t head_dim = 128;  // the first half of them is rotated
  int64_t experts_per_token = 8;
};

/// The names of these sizes, here and in config.json.
struct SyntheticShapeField {
  std::string_view key;
  std::string_view config_key;
  int64_t SyntheticShape::* member;
};

inline constexpr std::array kSyntheticShapeFields = {
    SyntheticShapeField{"layers", "num_hidden_layers", &SyntheticShape::layers},
    SyntheticShapeField{"experts", "num_local_experts", &SyntheticShape::experts},
    SyntheticShapeField{"vocab", "vocab_size", &SyntheticShape::vocab},
    SyntheticShapeField{"hidden", "hidden_size", &SyntheticShape::hidden},
    SyntheticShapeField{"intermediate", "intermediate_size", &SyntheticShape::intermediate},
    SyntheticShapeField{"heads", "num_attention_heads", &SyntheticShape::heads},
    SyntheticShapeField{"kv_heads", "num_key_value_heads", &SyntheticShape::kv_heads},
    SyntheticShapeField{"head_dim", "head_dim", &SyntheticShape::head_dim},
    SyntheticShapeField{"experts_per_token", "num_experts_per_tok",
                        &SyntheticShape::experts_per_token},
};

/// Errors: what ModelConfig::parse refuses, and columns of a packed matrix that are no multiple of
/// 16.
Result<ModelConfig> synthetic_config(const SyntheticShape& shape);

/// Bytes of all matrices.
int64_t synthetic_weight_bytes(const ModelConfig& config);

/// All matrices are mxfp4_16 but the routers, which are F32; norms are 1, routing biases 0, KV
/// scales 1. Codes and scales are random and such that activations of every layer stay near 1 and
/// the router sends about as many tokens to each expert. The same seed gives the same bits with any
/// number of threads. The pool's threads write the weights, in huge pages where the system gives
/// them. `other_bytes`: what the caller is going to need beside. Errors: resource_exhausted where
/// the free memory is too little for both.
Result<std::unique_ptr<MiniMaxM2>> make_synthetic_model(const ModelConfig& config, uint64_t seed,
                                                        ThreadPool& pool,
                                                        std::shared_ptr<Kernels> kernels,
                                                        int64_t other_bytes = 0);

}  // namespace tetrad
