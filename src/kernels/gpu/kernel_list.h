#pragma once

// Every kernel once: its header, and its name with its arguments.

#include "kernels/gpu/add_segments.h"
#include "kernels/gpu/decode_experts.h"
#include "kernels/gpu/decode_product.h"
#if !defined(__AMDGCN__) && !defined(TETRAD_EMULATE_GFX12)
#include "kernels/gpu/experts_of_one.h"
#include "kernels/gpu/experts_stream.h"
#include "kernels/gpu/gemm_fed.h"
#endif
#include "kernels/gpu/gemm.h"
#include "kernels/gpu/gemm_experts.h"
#include "kernels/gpu/group_by_expert.h"
#include "kernels/gpu/limits.h"
#include "kernels/gpu/merge_groups.h"
#include "kernels/gpu/pack_weights.h"
#include "kernels/gpu/paged_attention.h"
#include "kernels/gpu/prefill_attention.h"
#include "kernels/gpu/prefill_rows.h"
#include "kernels/gpu/qk_norm_rope.h"
#include "kernels/gpu/rank_exchange.h"
#include "kernels/gpu/rank_exchange_few.h"
#include "kernels/gpu/rms_norm.h"
#include "kernels/gpu/route.h"
#include "kernels/gpu/route_many.h"
#include "kernels/gpu/sample_summary.h"
#include "kernels/gpu/segment_product.h"
#include "kernels/gpu/segment_staged.h"
#include "kernels/gpu/small_kernels.h"

// clang-format off
#define TETRAD_GPU_KERNELS(X)                           \
  X(embed, EmbedArgs)                                   \
  X(norm_rows, NormRowsArgs)                            \
  X(gather_rows, GatherRowsArgs)                        \
  X(qk_norm_rope, QkNormRopeArgs)                       \
  X(qk_squares, QkSquaresArgs)                          \
  X(square_sums, SquareSumsArgs)                        \
  X(qk_norm_rope_of_rank, QkNormRopeArgs)               \
  X(attend_decode_64, DecodeAttentionArgs)              \
  X(attend_decode_128, DecodeAttentionArgs)             \
  X(attend_decode_64_of_rank, DecodeAttentionArgs)      \
  X(attend_decode_128_of_rank, DecodeAttentionArgs)     \
  X(merge_groups_64, MergeGroupsArgs)                   \
  X(merge_groups_128, MergeGroupsArgs)                  \
  X(attend_prefill_64, AttentionArgs)                   \
  X(attend_prefill_128, AttentionArgs)                  \
  X(route, RouteArgs)                                   \
  X(route_one, RouteArgs)                               \
  X(route_norm, RouteManyArgs)                          \
  X(route_many, RouteManyArgs)                          \
  X(route_many_small, RouteManyArgs)                    \
  X(choose_many, RouteManyArgs)                         \
  X(group_by_expert, GroupByExpertArgs)                 \
  X(combine_experts, CombineExpertsArgs)                \
  X(decode_product_codes, DecodeProductArgs)            \
  X(decode_product_halves, DecodeProductArgs)           \
  X(decode_product_one_codes, DecodeProductArgs)        \
  X(decode_product_one_halves, DecodeProductArgs)       \
  X(experts_up_codes, ExpertsUpArgs)                    \
  X(experts_up_halves, ExpertsUpArgs)                   \
  X(experts_up_one_codes, ExpertsUpArgs)                \
  X(experts_up_one_halves, ExpertsUpArgs)               \
  X(experts_down_codes, ExpertsDownArgs)                \
  X(experts_down_halves, ExpertsDownArgs)               \
  X(experts_down_one_codes, ExpertsDownArgs)            \
  X(experts_down_one_halves, ExpertsDownArgs)           \
  X(gemm_codes_small, GemmArgs)                         \
  X(gemm_halves, GemmArgs)                              \
  X(gemm_halves_small, GemmArgs)                        \
  X(segment_product_codes, GemmArgs)                    \
  X(segment_product_two_codes, GemmArgs)                \
  X(segment_product_halves, GemmArgs)                   \
  X(gemm_segments_codes, GemmArgs)                      \
  X(gemm_segments_halves, GemmArgs)                     \
  X(add_segments, AddSegmentsArgs)                      \
  X(experts_up_gemm_codes_small, ExpertsUpGemmArgs)     \
  X(experts_up_gemm_halves, ExpertsUpGemmArgs)          \
  X(experts_down_gemm_codes_small, ExpertsDownGemmArgs) \
  X(experts_down_gemm_halves, ExpertsDownGemmArgs)      \
  X(summarize_logits, SummarizeLogitsArgs)              \
  X(all_reduce_few, AllReduceArgs)                      \
  X(all_reduce_qk_squares, AllReduceSquaresArgs)        \
  X(all_reduce_one_shot, AllReduceArgs)                 \
  X(all_reduce_two_shot, AllReduceArgs)                 \
  X(all_gather_ranks, AllGatherArgs)                    \
  X(pack_codes, PackCodesArgs)                          \
  X(pack_halves, PackHalvesArgs)                        \
  X(random_tiles, RandomTilesArgs)                      \
  X(random_embeddings, RandomEmbeddingsArgs)            \
  X(read_all, ReadAllArgs)                              \
  X(multiply_add_peak, MultiplyAddArgs)
// Those that need copies that run by themselves, which gfx12 has not.
#define TETRAD_NVIDIA_KERNELS(X)      \
  X(experts_of_one, ExpertsOfOneArgs) \
  X(experts_stream, ExpertsStreamArgs)
// Those that only code for sm_90a has, which multiply by wgmma.
#define TETRAD_WARPGROUP_KERNELS(X)               \
  X(attend_prefill_rows_64, AttentionArgs)        \
  X(attend_prefill_rows_128, AttentionArgs)       \
  X(gemm_codes_fed, GemmArgs)                     \
  X(segment_staged_four_codes, GemmArgs)                \
  X(segment_staged_six_codes, GemmArgs)                 \
  X(experts_up_gemm_codes_fed, ExpertsUpGemmArgs) \
  X(experts_down_gemm_codes_fed, ExpertsDownGemmArgs)  \
  X(gemm_codes_fed_wide, GemmArgs)                     \
  X(experts_up_gemm_codes_fed_wide, ExpertsUpGemmArgs) \
  X(experts_down_gemm_codes_fed_wide, ExpertsDownGemmArgs)
// Those that it has not, since they would never be launched.
#define TETRAD_OTHERS_KERNELS(X)              \
  X(gemm_codes, GemmArgs)                     \
  X(experts_up_gemm_codes, ExpertsUpGemmArgs) \
  X(experts_down_gemm_codes, ExpertsDownGemmArgs)
// clang-format on
