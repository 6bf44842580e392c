#pragma once

// What is neither a product nor attention.

#include "gpu/fragment.h"
#include "kernels/gpu/choose_experts.h"

namespace tetrad::gpu {

/// A block that has come to a sequence.
struct BlockTableUpdate {
  uint32_t at = 0;  // in all sequences' block tables
  int32_t block = 0;
};

/// residual[t] = table[token_ids[t] - first_token], or zeros where the table, of num_rows rows, has
/// not that token: another rank has it.  table: BF16 [num_rows, hidden_size], in device or pinned
/// memory. A block a token. A step's first launch, it also brings the block tables up to date.
struct EmbedArgs {
  const uint16_t* table = nullptr;
  const int32_t* token_ids = nullptr;  // [T]
  float* residual = nullptr;           // [T, hidden_size]
  uint32_t hidden_size = 0;
  uint32_t first_token = 0;
  uint32_t num_rows = 0;
  const uint32_t* num_updates = nullptr;  // null: none
  const BlockTableUpdate* updates = nullptr;
  int32_t* block_table = nullptr;
};

/// residual[t] (+)= sum over picks, in order, of weight * products[pair], without those whose
/// weight is below 0 (ExpertChoice). Grid: (blocks that share a token, tokens).
struct CombineExpertsArgs {
  const float* products = nullptr;  // [T * num_experts_per_tok, hidden_size]
  const float* weights = nullptr;   // [T, num_experts_per_tok]
  uint32_t num_experts_per_tok = 0;
  float* residual = nullptr;  // [T, hidden_size]
  uint32_t hidden_size = 0;
  uint32_t add = 1;  // 0: what stood in the residual is another rank's to bring
};

/// out[i] = x[rows[i]]: the tokens whose logits are wanted. A block a row.
struct GatherRowsArgs {
  const float* x = nullptr;       // [T, cols]
  const int32_t* rows = nullptr;  // [R]
  float* out = nullptr;           // [R, cols]
  uint32_t cols = 0;
};

namespace TETRAD_MACHINE {

TETRAD_KERNEL(embed, EmbedArgs, 256) {
  wait_for_launches_before();
  let_next_launch_begin();
  if (args.num_updates != nullptr) {
    for (uint32_t i = block_x() * 256 + thread_index(); i < *args.num_updates; i += grid_x() * 256)
      args.block_table[args.updates[i].at] = args.updates[i].block;
  }
  const uint32_t row = static_cast<uint32_t>(args.token_ids[block_x()]) - args.first_token;
  const bool is_here = row < args.num_rows;
  const uint16_t* from = args.table + static_cast<uint64_t>(row) * args.hidden_size;
  float* to = args.residual + static_cast<uint64_t>(block_x()) * args.hidden_size;
  for (uint32_t i = thread_index(); i < args.hidden_size; i += 256)
    to[i] = is_here ? bfloat_to_float(from[i]) : 0;
}

TETRAD_KERNEL(combine_experts, CombineExpertsArgs, 256) {
  wait_for_launches_before();
  let_next_launch_begin();
  const uint64_t first = static_cast<uint64_t>(block_y()) * args.num_experts_per_tok;
  float* residual = args.residual + static_cast<uint64_t>(block_y()) * args.hidden_size;
  for (uint32_t i = block_x() * 256 + thread_index(); i < args.hidden_size; i += grid_x() * 256) {
    const float sum = sum_over_picks(args.weights + first, args.num_experts_per_tok,
                                     [&](uint32_t pick) TETRAD_INLINE {
                                       return args.products[(first + pick) * args.hidden_size + i];
                                     });
    residual[i] = args.add == 0 ? sum : residual[i] + sum;
  }
}

TETRAD_KERNEL(gather_rows, GatherRowsArgs, 256) {
  wait_for_launches_before();
  let_next_launch_begin();
  const float* from =
      args.x + static_cast<uint64_t>(static_cast<uint32_t>(args.rows[block_x()])) * args.cols;
  float* to = args.out + static_cast<uint64_t>(block_x()) * args.cols;
  for (uint32_t i = thread_index(); i < args.cols; i += 256)
    to[i] = from[i];
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
