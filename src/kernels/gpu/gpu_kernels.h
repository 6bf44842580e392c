#pragma once

// The kernels as the host sees them: each with its arguments, launched in the shape it needs. What
// goes wrong is kept, and said by status(): a forward pass asks once, at its end.

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "gpu/device.h"
#include "kernels/gpu/gpu_tuning.h"
#include "kernels/gpu/kernel_list.h"
#include "kernels/gpu/launch_cost.h"

namespace tetrad::gpu {

class GpuKernels {
 public:
  /// Finds all kernels; the choices are those that the build has for the card. Errors: not_found.
  static Result<GpuKernels> create(Device& device);
  static Result<GpuKernels> create(Device& device, const GpuTuning& tuning);

  Device& device() { return *device_; }
  bool is_gfx12() const { return is_gfx12_; }
  const GpuTuning& tuning() const { return tuning_; }
  /// From here on; graphs keep the launches that they have.
  void set_tuning(const GpuTuning& tuning) { tuning_ = tuning; }
  /// Columns of activations at activation_offset, of this machine's fragment.
  uint32_t activation_offset(uint32_t column) const;
  uint32_t fragment_tokens() const;
  /// Floats of a group of keys in AttentionArgs::partial.
  uint32_t partial_floats(uint32_t head_dim) const;
  /// Tokens that decode_product takes of a width: a fragment's, or fewer where shared memory is.
  uint32_t max_decode_tokens(uint32_t cols) const;

  /// The first error of a launch since the last call.
  Result<void> status();

  /// From here on each launch is timed, by itself: not for graphs. Launches wait behind a kernel
  /// of `busy_rounds` (MultiplyAddArgs), so that the card is not timed waiting for the host; for
  /// each further step queue_up() again.
  void start_profile(uint32_t busy_rounds);
  void queue_up();
  bool is_profiling() const { return is_profiling_; }
  /// Launches of one kernel that cost the same: a product's of one matrix.
  struct Profiled {
    std::string_view kernel;
    LaunchCost cost;  // of one
    int64_t launches = 0;
    double seconds = 0;  // of all
  };
  struct Profile {
    /// An empty kernel's, timed in the same way: what each launch's time has of the timing.
    double empty_launch_seconds = 0;
    std::vector<Profiled> kernels;  // what took most first
  };
  /// Waits.
  Result<Profile> end_profile();

  void embed(const EmbedArgs& args, uint32_t num_tokens);
  void norm_rows(const NormRowsArgs& args, uint32_t num_tokens);
  void gather_rows(const GatherRowsArgs& args, uint32_t num_rows);
  void qk_norm_rope(const QkNormRopeArgs& args, uint32_t num_tokens);
  void square_sums(const SquareSumsArgs& args, uint32_t num_tokens);
  void qk_squares(const QkSquaresArgs& args, uint32_t num_tokens);
  /// head_dim 64 or 128. As many blocks as tuning().attend_blocks says share the groups of keys.
  /// `work` is for profiles.
  void attend_decode(const DecodeAttentionArgs& args, uint32_t head_dim, uint32_t num_sequences,
                     const AttentionWork& work = {});
  /// Columns that an item of attend_prefill stands for, fewer at a sequence's end.
  uint32_t prefill_columns() const;
  void attend_prefill(const AttentionArgs& args, uint32_t head_dim, const AttentionWork& work = {});
  /// Of up to kFewTokens tokens.
  void route(const RouteArgs& args);
  /// The same bits for more, in two or three launches: the norms, and with these arguments or parts
  /// of them the logits and the choices. The lists are group_by_expert's.
  void route_norm(const RouteManyArgs& args);
  void route_many(const RouteManyArgs& args);
  void group_by_expert(const GroupByExpertArgs& args);
  void combine_experts(const CombineExpertsArgs& args, uint32_t num_tokens);

  /// Of num_rows rows.
  void summarize_logits(const SummarizeLogitsArgs& args, uint32_t num_rows);

  // Between ranks, by as many blocks on each of them, at most kExchangeBlocks, with enough room in
  // what they share (rank_exchange.h); of few values they know how many. On the emulation other
  // ranks must run at the same time.
  void all_reduce_few(const AllReduceArgs& args);
  void all_reduce_qk_squares(const AllReduceSquaresArgs& args);
  void all_reduce_one_shot(const AllReduceArgs& args, uint32_t num_blocks);
  void all_reduce_two_shot(const AllReduceArgs& args, uint32_t num_blocks);
  void all_gather_ranks(const AllGatherArgs& args, uint32_t num_blocks);

  /// decode_product() or gemm(), or few tokens by segments: what is fastest.
  void product(const GemmArgs& args, float* square_sums = nullptr);

  // Few tokens. Of a product at most max_decode_tokens(). `experts` are for profiles.
  void decode_product(DecodeProductArgs args);
  void experts_up(ExpertsUpArgs args, ExpertCount experts = 1);
  void experts_down(ExpertsDownArgs args, ExpertCount experts = 1);
  /// experts_up() and experts_down() as one launch, but for the sum over the picks, which is
  /// combine_experts(). args.hidden is kNotYet: route() or route_norm() has made it so.
  void experts_stream(const ExpertsStreamArgs& args, ExpertCount experts = 1);
  /// Whether this machine has it for so many tokens and such sizes.
  bool takes_experts_stream(const ExpertsStreamArgs& args) const;
  /// The three of one token as one launch, likewise.
  void experts_of_one(const ExpertsOfOneArgs& args, ExpertCount experts = 1);
  bool takes_experts_of_one(const ExpertsOfOneArgs& args) const;
  /// Whether the weights of so many tokens' experts are read once for a few tokens each, with lists
  /// alone: by themselves (takes_experts_stream()), or by experts_up() and experts_down(). Else
  /// they are the GEMMs', with tiles of tokens.
  bool streams_experts(const ExpertChoice& choice, bool by_themselves) const;

  // Many tokens. Tiles are chosen here for the dense product, and by expert_tiles for the
  // experts' lists. `square_sums`: where wanted, as AddSegmentsArgs has them, of a product that
  // is not added to anything; out's rows then follow each other. With args.partial, of
  // gemm_partial_floats(), of few tokens a block takes but a segment of the columns where blocks
  // would be fewer than multiprocessors.
  void gemm(GemmArgs args, float* square_sums = nullptr);
  TokenTiles expert_tiles(TileFormat format, uint32_t num_pairs, uint32_t num_experts) const;
  void experts_up_gemm(const ExpertsUpGemmArgs& args, uint32_t num_pairs, ExpertCount experts);
  void experts_down_gemm(const ExpertsDownGemmArgs& args, uint32_t num_pairs, ExpertCount experts);

  void pack_codes(const PackCodesArgs& args);
  void pack_halves(const PackHalvesArgs& args);
  void random_tiles(const RandomTilesArgs& args);
  void random_embeddings(const RandomEmbeddingsArgs& args);
  void read_all(const ReadAllArgs& args);
  void multiply_add_peak(const MultiplyAddArgs& args, uint32_t num_blocks);

 private:
  GpuKernels() = default;

  /// What `of` says of this machine's fragment: of.operator()<F>().
  template <class Of>
  uint32_t by_fragment(const Of& of) const {
    return is_gfx12_ ? of.template operator()<Gfx12Fragment>()
                     : of.template operator()<NvidiaFragment>();
  }

  /// `known`: what launch_cost asks for beside the arguments.
  template <class Args, class... Known>
  void launch(Kernel kernel, const LaunchShape& shape, const Args& args, const Known&... known) {
    launch_bytes(kernel, shape, &args, sizeof args,
                 is_profiling_ ? launch_cost(args, known...) : LaunchCost{});
  }
  void launch_bytes(Kernel kernel, const LaunchShape& shape, const void* args, size_t bytes,
                    const LaunchCost& cost);
  /// One product of the experts for many tokens, in its sizes and formats.
  struct ExpertGemm {
    Kernel codes;
    Kernel codes_fed;
    Kernel codes_fed_wide;
    Kernel codes_small;
    Kernel halves;
  };
  template <class Args>
  void launch_experts_gemm(const ExpertGemm& of, const PackedMatrix& weight, uint32_t rows_of_block,
                           const Args& args, uint32_t num_pairs, ExpertCount experts);
  /// By blocks that stay, of which each multiprocessor has one, or of fewer items fewer; of tiles
  /// for which shape Narrow has no room, of the wide one.
  template <class Narrow, class Args, class... Known>
  void launch_fed(Kernel narrow, Kernel wide, uint32_t token_tile, uint32_t num_items,
                  const Args& args, const Known&... known) {
    const bool is_narrow = token_tile <= Narrow::kTokens;
    launch(is_narrow ? narrow : wide,
           {.grid_x = std::min(num_items, num_multiprocessors_),
            .threads = FedBlock::kThreads,
            .shared_bytes = is_narrow ? Narrow::kSharedBytes : WideFedShape::kSharedBytes},
           args, known...);
  }
  /// Whether gemm_fed.h has such products on this machine.
  bool is_fed(TileFormat format, GemmSize size) const;
  /// Tokens for which a block has a loop of its own, where its size has room for so many.
  std::span<const uint32_t> gemm_tiles(TileFormat format, GemmSize size) const;
  void add_squares(const GemmArgs& args, float* sums);
  uint32_t gemm_shared(TileFormat format, GemmSize size) const;
  uint32_t gemm_tokens(TileFormat format, GemmSize size) const;
  /// So many blocks a multiprocessor, but not more than there is work for.
  uint32_t blocks(uint32_t per_multiprocessor, uint32_t jobs) const;
  uint32_t decode_shared_bytes(uint32_t cols, uint32_t num_tokens, uint32_t job_tiles = 1) const;
  /// Tiles of rows a warp takes in one go, so that the blocks need few: of a product with
  /// num_tokens rows of `cols`, for all of which there is shared memory.
  uint32_t job_tiles(uint32_t per_multiprocessor, uint32_t tiles, uint32_t cols,
                     uint32_t num_tokens, uint32_t more_bytes) const;
  /// Tokens of a tile of the dense product, for each of which there are `blocks_of_tile`.
  uint32_t dense_token_tile(TileFormat format, GemmSize size, uint32_t blocks_of_tile,
                            uint32_t num_tokens) const;
  /// Whether the product can be computed by segments.
  static bool takes_segments(const GemmArgs& args);
  /// Whether so few tokens are computed by segments rather than by decode_product().
  bool takes_few_by_segments(const GemmArgs& args) const;
  /// Whether, by segments, few tokens are segment_product.h's: all its blocks are at work at once.
  bool takes_segment_product(const GemmArgs& args) const;
  uint32_t segment_product_shared(uint32_t num_tokens) const;
  /// Token tiles of the kernel of segment_staged.h that takes the product, if the blocks of so many
  /// tokens are at work at once; 0: none.
  uint32_t segment_staged_tiles(const GemmArgs& args) const;
  void gemm_by_segments(GemmArgs args, float* square_sums);
  /// Whether experts_stream.h takes w1 and w3 of such sizes, and so many pairs.
  bool fits_experts_stream(const ExpertsStreamArgs& args) const;
  /// Tokens of an expert that a decode kernel takes at a time: a fragment's, or fewer where shared
  /// memory is.
  uint32_t chunk_tokens(uint32_t cols, uint32_t num_tokens, uint32_t more_bytes) const;

  struct Table {
#define TETRAD_KERNEL_MEMBER(name, Args) Kernel name;
    TETRAD_GPU_KERNELS(TETRAD_KERNEL_MEMBER)
    TETRAD_NVIDIA_KERNELS(TETRAD_KERNEL_MEMBER)
    TETRAD_WARPGROUP_KERNELS(TETRAD_KERNEL_MEMBER)
    TETRAD_OTHERS_KERNELS(TETRAD_KERNEL_MEMBER)
#undef TETRAD_KERNEL_MEMBER
  };

  Device* device_ = nullptr;
  bool is_gfx12_ = false;
  bool has_warpgroups_ = false;  // TETRAD_WARPGROUP_KERNELS are there
  uint32_t num_multiprocessors_ = 1;
  uint32_t shared_bytes_ = 0;  // that a block may have
  GpuTuning tuning_;
  Table kernels_;
  Result<void> status_;
  std::vector<std::pair<void*, std::string_view>> names_;  // by handle
  bool is_profiling_ = false;
  uint32_t busy_rounds_ = 0;
  struct TimedLaunch {
    void* kernel;
    int begin;  // the time noted before it; that after it is the next
    LaunchCost cost;
  };
  std::vector<TimedLaunch> timed_;
};

}  // namespace tetrad::gpu
