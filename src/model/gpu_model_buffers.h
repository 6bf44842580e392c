#pragma once

// What a GpuModel keeps on the device and beside it in pinned memory.

#include <cstdint>
#include <vector>

#include "model/gpu_model.h"

namespace tetrad {

template <class T>
Result<T*> pinned_array(GpuMemory& memory, int64_t count) {
  TETRAD_ASSIGN(std::byte * bytes, memory.allocate_pinned(count * static_cast<int64_t>(sizeof(T))));
  return reinterpret_cast<T*>(bytes);
}

/// What a step computes on: filled in pinned memory and copied to the same places on the device.
struct GpuModel::Inputs {
  /// One array in both memories.
  template <class T>
  struct Array {
    T* host = nullptr;
    T* device = nullptr;
    Result<void> allocate(GpuMemory& memory, int64_t count) {
      TETRAD_ASSIGN(host, pinned_array<T>(memory, count));
      TETRAD_ASSIGN(device, memory.array<T>(count));
      return {};
    }
    Result<void> copy(gpu::Device& to, size_t count) const {
      if (count == 0) return {};
      return to.copy_to_device(reinterpret_cast<gpu::DeviceAddress>(device), host,
                               static_cast<int64_t>(count * sizeof(T)));
    }
  };
  Array<int64_t> slot_mapping;
  Array<int32_t> token_ids, positions, logits_rows;
  Array<int32_t> query_start, query_len, context_len, block_table;
  Array<int32_t> decodes;  // sequences with one token
  Array<gpu::PrefillItem> items;
  int64_t table_stride = 0;
};

/// The activations of a step, and what kernels share in it.
struct GpuModel::Buffers {
  float* residual = nullptr;
  float* qkv = nullptr;
  float* last = nullptr;  // rows whose logits are wanted
  float* logits = nullptr;
  float* host_logits = nullptr;
  uint16_t* normed = nullptr;
  uint16_t* q = nullptr;
  uint16_t* attended = nullptr;
  uint16_t* hidden = nullptr;
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
