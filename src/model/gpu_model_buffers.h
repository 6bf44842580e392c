#pragma once

// What a GpuModel keeps on the device, beside its inputs and logits.

#include <cstdint>
#include <vector>

#include "model/gpu_model.h"

namespace tetrad {

/// The activations of a step, and what kernels share in it.
struct GpuModel::Buffers {
  float* residual = nullptr;
  float* qkv = nullptr;
  float* square_sums = nullptr;  // of each 16 of qkv, where attention or other ranks need them
  // Of a rank among others.
  float* squares = nullptr;
  float* logits_part = nullptr;
  float* last = nullptr;  // rows whose logits are wanted
  uint16_t* normed = nullptr;
  uint16_t* q = nullptr;
  uint16_t* attended = nullptr;
  uint16_t* hidden = nullptr;
  float* told_products = nullptr;  // what blocks tell each other of one token (experts_of_one.h)
  float* products = nullptr;
  float* router_logits = nullptr;
  int32_t* expert_ids = nullptr;
  float* expert_weights = nullptr;
  gpu::ExpertLists lists;
  uint32_t* token_tiles = nullptr;
  uint32_t* num_token_tiles = nullptr;
  uint32_t* route_finished = nullptr;
  uint32_t* down_finished = nullptr;
  uint32_t* attend_finished = nullptr;
  float* attend_partial = nullptr;
  float* rotation = nullptr;
  std::vector<uint8_t*> k_cache, v_cache;
  std::vector<KvScales> scales;
  uint32_t normed_stride = 0;
  uint32_t hidden_stride = 0;
  uint32_t attended_stride = 0;
  uint32_t partial_floats = 0;
  int64_t max_partials = 0;  // groups of keys of all sequences together
};

}  // namespace tetrad
