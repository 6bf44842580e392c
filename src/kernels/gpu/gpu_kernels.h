#pragma once

// The kernels as the host sees them: each with its arguments, launched in the shape it needs. What
// goes wrong is kept, and said by status(): a forward pass asks once, at its end.

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "gpu/device.h"
#include "kernels/gpu/kernel_list.h"

namespace tetrad::gpu {

/// Blocks a multiprocessor of the kernels that go over their work in turn; `tetrad tune` finds
/// them.
struct GpuTuning {
  uint32_t product_blocks = 2;
  uint32_t experts_up_blocks = 2;
  uint32_t experts_down_blocks = 2;
};

class GpuKernels {
 public:
  /// Finds all kernels. Errors: not_found.
  static Result<GpuKernels> create(Device& device, const GpuTuning& tuning = {});

  Device& device() { return *device_; }
  bool is_gfx12() const { return is_gfx12_; }
  const GpuTuning& tuning() const { return tuning_; }
  /// Columns of activations at activation_offset, of this machine's fragment.
  uint32_t activation_offset(uint32_t column) const;
  uint32_t fragment_tokens() const;
  /// Tokens that decode_product takes of a width: a fragment's, or fewer where shared memory is.
  uint32_t max_decode_tokens(uint32_t cols) const;

  /// The first error of a launch since the last call.
  Result<void> status();

  /// From here on each launch is timed, by itself: not for graphs.
  void start_profile();
  struct Profiled {
    std::string_view kernel;
    int64_t launches = 0;
    double seconds = 0;
  };
  /// Waits; what took most first.
  Result<std::vector<Profiled>> end_profile();

  void embed(const EmbedArgs& args, uint32_t num_tokens);
  void norm_rows(const NormRowsArgs& args, uint32_t num_tokens);
  void gather_rows(const GatherRowsArgs& args, uint32_t num_rows);
  void qk_norm_rope(const QkNormRopeArgs& args, uint32_t num_tokens);
  /// head_dim 64 or 128. args.max_groups decides the grid.
  void attend_decode(const AttentionArgs& args, uint32_t head_dim, uint32_t num_sequences);
  void attend_prefill(const AttentionArgs& args, uint32_t head_dim);
  void route(const RouteArgs& args);
  void group_by_expert(const GroupByExpertArgs& args);
  void combine_experts(const CombineExpertsArgs& args, uint32_t num_tokens);

  // Few tokens. Of a product at most fragment_tokens().
  void decode_product(DecodeProductArgs args);
  void experts_up(ExpertsUpArgs args);
  void experts_down(ExpertsDownArgs args);

  // Many tokens. token_tile is chosen here for the dense product, and by gemm_token_tile for the
  // experts' lists.
  void gemm(GemmArgs args);
  uint32_t gemm_token_tile(TileFormat format, uint32_t num_pairs, uint32_t num_experts) const;
  void experts_up_gemm(const ExpertsUpGemmArgs& args, uint32_t num_pairs, uint32_t num_experts);
  void experts_down_gemm(const ExpertsDownGemmArgs& args, uint32_t num_pairs, uint32_t num_experts);

  void pack_codes(const PackCodesArgs& args);
  void pack_halves(const PackHalvesArgs& args);
  void random_tiles(const RandomTilesArgs& args);
  void random_embeddings(const RandomEmbeddingsArgs& args);
  void read_all(const ReadAllArgs& args);
  void multiply_add_peak(const MultiplyAddArgs& args, uint32_t num_blocks);

 private:
  GpuKernels() = default;

  template <class Args>
  void launch(Kernel kernel, const LaunchShape& shape, const Args& args) {
    launch(kernel, shape, &args, sizeof args);
  }
  void launch(Kernel kernel, const LaunchShape& shape, const void* args, size_t bytes);
  /// One product of the experts for many tokens, in its sizes and formats.
  struct ExpertGemm {
    Kernel codes;
    Kernel codes_small;
    Kernel halves;
  };
  void launch_experts_gemm(const ExpertGemm& of, const PackedMatrix& weight, uint32_t rows_of_block,
                           const TokenTiles& tiles, uint32_t num_pairs, uint32_t num_experts,
                           const void* args, size_t bytes);
  uint32_t gemm_shared(TileFormat format, GemmSize size) const;
  uint32_t gemm_tokens(TileFormat format, GemmSize size) const;
  /// So many blocks a multiprocessor, but not more than there is work for.
  uint32_t blocks(uint32_t per_multiprocessor, uint32_t jobs) const;
  uint32_t decode_shared_bytes(uint32_t cols, uint32_t num_tokens, uint32_t job_tiles = 1) const;
  /// Tiles of rows a warp takes in one go, so that the blocks need few.
  uint32_t job_tiles(uint32_t per_multiprocessor, uint32_t tiles) const;

  struct Table {
#define TETRAD_KERNEL_MEMBER(name, Args) Kernel name;
    TETRAD_GPU_KERNELS(TETRAD_KERNEL_MEMBER)
#undef TETRAD_KERNEL_MEMBER
  };

  Device* device_ = nullptr;
  bool is_gfx12_ = false;
  uint32_t num_multiprocessors_ = 1;
  uint32_t shared_bytes_ = 0;  // that a block may have
  GpuTuning tuning_;
  Table kernels_;
  Result<void> status_;
  std::vector<std::pair<void*, std::string_view>> names_;  // by handle
  bool is_profiling_ = false;
  std::vector<std::pair<void*, int>> profiled_;  // a kernel's handle, and the time noted before it
};

}  // namespace tetrad::gpu
