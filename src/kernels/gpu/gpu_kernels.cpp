#include "kernels/gpu/gpu_kernels.h"

#include <algorithm>
#include <array>
#include <utility>

namespace tetrad::gpu {

Result<GpuKernels> GpuKernels::create(Device& device) {
  TETRAD_ASSIGN(const DeviceInfo info, device.info());
  TETRAD_ASSIGN(const GpuTuning tuning, gpu_tuning_of(info.name));
  return create(device, tuning);
}

Result<GpuKernels> GpuKernels::create(Device& device, const GpuTuning& tuning) {
  TETRAD_ASSIGN(const DeviceInfo info, device.info());
  GpuKernels all;
  all.device_ = &device;
  // The emulation's name says whose fragments it has.
  all.is_gfx12_ = info.architecture.starts_with("gfx12") || info.name == "gfx12";
  all.num_multiprocessors_ = static_cast<uint32_t>(std::max<int64_t>(info.num_multiprocessors, 1));
  all.shared_bytes_ = static_cast<uint32_t>(info.shared_bytes_per_block);
  all.tuning_ = tuning;
  struct Wanted {
    std::string_view name;
    Kernel* kernel;
  };
#define TETRAD_FIND_KERNEL(name, Args) {#name, &all.kernels_.name},
  // All of these or none.
  size_t num_missing = 0;
  const std::vector<Wanted> of_warpgroups{TETRAD_WARPGROUP_KERNELS(TETRAD_FIND_KERNEL)};
  for (const Wanted& wanted : of_warpgroups) {
    if (all.is_gfx12_) break;
    auto found = device.kernel(wanted.name);
    if (!found && found.error().code == ErrorCode::not_found) {
      ++num_missing;
      continue;
    }
    TETRAD_ASSIGN(*wanted.kernel, std::move(found));
    all.names_.emplace_back(wanted.kernel->handle, wanted.name);
  }
  all.has_warpgroups_ = !all.is_gfx12_ && num_missing == 0;
  std::vector<Wanted> all_wanted{TETRAD_GPU_KERNELS(TETRAD_FIND_KERNEL)};
  const auto want_too = [&](std::initializer_list<Wanted> more) {
    all_wanted.insert(all_wanted.end(), more);
  };
  if (!all.is_gfx12_) want_too({TETRAD_NVIDIA_KERNELS(TETRAD_FIND_KERNEL)});
  if (!all.has_warpgroups_) want_too({TETRAD_OTHERS_KERNELS(TETRAD_FIND_KERNEL)});
  for (const Wanted& wanted : all_wanted) {
    TETRAD_ASSIGN(*wanted.kernel, device.kernel(wanted.name));
    all.names_.emplace_back(wanted.kernel->handle, wanted.name);
  }
#undef TETRAD_FIND_KERNEL
  return all;
}

uint32_t GpuKernels::activation_offset(uint32_t column) const {
  return by_fragment([&]<class F>() { return gpu::activation_offset<F>(column); });
}

uint32_t GpuKernels::fragment_tokens() const {
  return by_fragment([]<class F>() { return F::kTokens; });
}

uint32_t GpuKernels::partial_floats(uint32_t head_dim) const {
  return by_fragment([&]<class F>() { return gpu::partial_floats<F>(head_dim); });
}

Result<void> GpuKernels::status() {
  return std::exchange(status_, Result<void>());
}

void GpuKernels::launch_bytes(Kernel kernel, const LaunchShape& shape, const void* args,
                              size_t bytes, const LaunchCost& cost) {
  const auto attempt = [&](auto&& result) {
    if (!result && status_) status_ = tl::unexpected(result.error());
    return result.has_value();
  };
  if (!status_) return;
  if (!is_profiling_) {
    attempt(device_->launch(kernel, shape, args, bytes));
    return;
  }
  const Result<int> begin = device_->record_time();
  if (attempt(begin) && attempt(device_->launch(kernel, shape, args, bytes)) &&
      attempt(device_->record_time()))
    timed_.push_back({kernel.handle, *begin, cost});
}

void GpuKernels::start_profile(uint32_t busy_rounds) {
  timed_.clear();
  device_->forget_times();
  busy_rounds_ = busy_rounds;
  queue_up();
  is_profiling_ = true;
}

void GpuKernels::queue_up() {
  const bool was_profiling = std::exchange(is_profiling_, false);
  multiply_add_peak({.rounds = busy_rounds_}, num_multiprocessors_);
  is_profiling_ = was_profiling;
}

Result<GpuKernels::Profile> GpuKernels::end_profile() {
  const size_t num_launches = timed_.size();
  queue_up();
  constexpr size_t kEmptyLaunches = 33;
  for (size_t i = 0; i < kEmptyLaunches; ++i)
    multiply_add_peak({.rounds = 0}, num_multiprocessors_);
  is_profiling_ = false;
  TETRAD_TRY(status());
  TETRAD_TRY(device_->synchronize());

  Profile profile;
  std::array<double, kEmptyLaunches> empty{};
  for (size_t i = 0; i < timed_.size(); ++i) {
    const TimedLaunch& timed = timed_[i];
    TETRAD_ASSIGN(const double seconds, device_->seconds_between(timed.begin, timed.begin + 1));
    if (i >= num_launches) {
      empty[i - num_launches] = seconds;
      continue;
    }
    const auto name =
        std::ranges::find(names_, timed.kernel, &std::pair<void*, std::string_view>::first);
    auto entry = std::ranges::find_if(profile.kernels, [&](const Profiled& each) {
      return each.kernel == name->second && each.cost == timed.cost;
    });
    if (entry == profile.kernels.end())
      entry = profile.kernels.insert(entry, {.kernel = name->second, .cost = timed.cost});
    ++entry->launches;
    entry->seconds += seconds;
  }
  device_->forget_times();
  std::ranges::nth_element(empty, empty.begin() + kEmptyLaunches / 2);
  profile.empty_launch_seconds = empty[kEmptyLaunches / 2];
  std::ranges::sort(profile.kernels, std::ranges::greater{}, &Profiled::seconds);
  return profile;
}

uint32_t GpuKernels::blocks(uint32_t per_multiprocessor, uint32_t jobs) const {
  return std::clamp(jobs, 1u, num_multiprocessors_ * per_multiprocessor);
}

void GpuKernels::embed(const EmbedArgs& args, uint32_t num_tokens) {
  launch(kernels_.embed, {.grid_x = num_tokens, .threads = 256}, args, num_tokens);
}

void GpuKernels::norm_rows(const NormRowsArgs& args, uint32_t num_tokens) {
  launch(kernels_.norm_rows, {.grid_x = num_tokens, .threads = 256, .shared_bytes = 8 * 4}, args,
         num_tokens);
}

void GpuKernels::gather_rows(const GatherRowsArgs& args, uint32_t num_rows) {
  launch(kernels_.gather_rows, {.grid_x = num_rows, .threads = 256}, args, num_rows);
}

void GpuKernels::qk_norm_rope(const QkNormRopeArgs& args, uint32_t num_tokens) {
  launch(args.squares != nullptr ? kernels_.qk_norm_rope_of_rank : kernels_.qk_norm_rope,
         {.grid_x = num_tokens,
          .threads = kRopeThreads,
          .shared_bytes =
              args.squares != nullptr ? 0 : qk_norm_rope_shared_bytes(args.q_size, args.kv_size)},
         args, num_tokens);
}

void GpuKernels::qk_squares(const QkSquaresArgs& args, uint32_t num_tokens) {
  launch(kernels_.qk_squares, {.grid_x = num_tokens, .threads = 32}, args, num_tokens);
}

void GpuKernels::square_sums(const SquareSumsArgs& args, uint32_t num_tokens) {
  launch(kernels_.square_sums, {.grid_x = num_tokens, .threads = 256}, args, num_tokens);
}

void GpuKernels::attend_decode(const DecodeAttentionArgs& args, uint32_t head_dim,
                               uint32_t num_sequences, const AttentionWork& work) {
  const bool among_ranks = args.rope.squares != nullptr;
  const Kernel of_64 = among_ranks ? kernels_.attend_decode_64_of_rank : kernels_.attend_decode_64;
  const Kernel of_128 =
      among_ranks ? kernels_.attend_decode_128_of_rank : kernels_.attend_decode_128;
  launch(head_dim == 64 ? of_64 : of_128,
         {.grid_x = std::clamp(num_multiprocessors_ * tuning_.attend_blocks /
                                   (args.attention.num_kv_heads * num_sequences),
                               1u, args.attention.max_groups),
          .grid_y = args.attention.num_kv_heads,
          .grid_z = num_sequences,
          .threads = kAttendWarps * 32,
          .shared_bytes =
              by_fragment([&]<class F>() { return attend_decode_shared_bytes<F>(head_dim); })},
         args, head_dim, work);
  if (args.attention.max_groups <= kGroupsOfLastBlock) return;
  launch(head_dim == 64 ? kernels_.merge_groups_64 : kernels_.merge_groups_128,
         {.grid_x = head_dim / 16,
          .grid_y = args.attention.num_kv_heads,
          .grid_z = num_sequences,
          .threads = kMergeThreads,
          .shared_bytes = by_fragment([]<class F>() { return merge_groups_shared_bytes<F>(); })},
         MergeGroupsArgs{args.attention}, head_dim, work);
}

uint32_t GpuKernels::prefill_columns() const {
  if (has_warpgroups_) return PrefillRowsShape::kColumns;
  return by_fragment([]<class F>() { return PrefillShape<F>::kColumns; });
}

void GpuKernels::attend_prefill(const AttentionArgs& args, uint32_t head_dim,
                                const AttentionWork& work) {
  if (has_warpgroups_) {
    return launch(
        head_dim == 64 ? kernels_.attend_prefill_rows_64 : kernels_.attend_prefill_rows_128,
        {.grid_x = std::min(num_multiprocessors_, args.num_kv_heads * args.num_items),
         .threads = PrefillRowsShape::kThreads,
         .shared_bytes = PrefillRowsShape::shared_bytes(head_dim)},
        args, head_dim, work);
  }
  const uint32_t warps = by_fragment([]<class F>() { return PrefillShape<F>::kWarps; });
  launch(head_dim == 64 ? kernels_.attend_prefill_64 : kernels_.attend_prefill_128,
         {.grid_x = args.num_kv_heads,
          .grid_y = args.num_items,
          .threads = warps * 32,
          .shared_bytes =
              by_fragment([&]<class F>() { return attend_prefill_shared_bytes<F>(head_dim); })},
         args, head_dim, work);
}

void GpuKernels::group_by_expert(const GroupByExpertArgs& args) {
  launch(kernels_.group_by_expert,
         {.threads = kGroupThreads, .shared_bytes = group_shared_bytes(args.num_experts)}, args);
}

void GpuKernels::combine_experts(const CombineExpertsArgs& args, uint32_t num_tokens) {
  // A thread waits for one column's products: of few tokens it has one column, of many several.
  const uint32_t blocks_wanted = tiles_for(8 * num_multiprocessors_, num_tokens);
  launch(kernels_.combine_experts,
         {.grid_x = std::clamp(tiles_for(args.hidden_size, 256), 1u, blocks_wanted),
          .grid_y = num_tokens,
          .threads = 256},
         args, num_tokens);
}

void GpuKernels::route(const RouteArgs& args) {
  const ExpertChoice& choice = args.choice;
  const uint32_t block_tokens = by_fragment([]<class F>() { return kRouteTokensOf<F>; });
  launch(choice.num_tokens == 1 ? kernels_.route_one : kernels_.route,
         {.grid_x = tiles_for(choice.num_experts, 8),
          .grid_y = tiles_for(choice.num_tokens, block_tokens),
          .threads = 256,
          .shared_bytes = by_fragment([&]<class F>() {
            return route_shared_bytes<F>(args.hidden_size, choice.num_tokens);
          })},
         args);
}

void GpuKernels::route_norm(const RouteManyArgs& args) {
  launch(kernels_.route_norm,
         {.grid_x = args.route.choice.num_tokens, .threads = 256, .shared_bytes = 8 * 4}, args,
         RouteLaunch::norm);
}

void GpuKernels::route_many(const RouteManyArgs& args) {
  const auto shape = [&]<RouteTile kTile>() -> LaunchShape {
    return {
        .grid_x = tiles_for(args.route.choice.num_experts, kTile.block_experts()),
        .grid_y = tiles_for(args.route.choice.num_tokens, kTile.block_tokens()),
        .threads = 256,
        .shared_bytes = by_fragment([]<class F>() { return route_many_shared_bytes<F, kTile>(); })};
  };
  // Eight small tiles take more of a multiprocessor's time than a large one, but not eight times
  // as much.
  const LaunchShape large = shape.operator()<kRouteLarge>();
  if (2 * large.grid_x * large.grid_y >= num_multiprocessors_) {
    launch(kernels_.route_many, large, args, RouteLaunch::logits);
    return launch(kernels_.choose_many,
                  {.grid_x = tiles_for(args.route.choice.num_tokens, kFewTokens),
                   .threads = 256,
                   .shared_bytes = sizeof(ChoiceMemory)},
                  args, RouteLaunch::choice);
  }
  launch(kernels_.route_many_small, shape.operator()<kRouteSmall>(), args, RouteLaunch::logits);
}

void GpuKernels::summarize_logits(const SummarizeLogitsArgs& args, uint32_t num_rows) {
  launch(kernels_.summarize_logits,
         {.grid_x = summary_tiles(args.vocab_size),
          .grid_y = num_rows,
          .threads = 256,
          .shared_bytes = summary_shared_bytes(args.vocab_size)},
         args, num_rows);
}

static LaunchShape exchange_shape(uint32_t num_blocks) {
  return {.grid_x = num_blocks, .threads = kExchangeThreads, .shared_bytes = 2 * 4};
}

void GpuKernels::all_reduce_few(const AllReduceArgs& args) {
  launch(kernels_.all_reduce_few,
         {.grid_x = tiles_for(args.count, kFewBlockValues), .threads = kExchangeThreads}, args);
}

void GpuKernels::all_reduce_qk_squares(const AllReduceSquaresArgs& args) {
  launch(kernels_.all_reduce_qk_squares,
         {.grid_x = tiles_for(args.num_tokens, kSquaresBlockTokens), .threads = kExchangeThreads},
         args);
}

void GpuKernels::all_reduce_one_shot(const AllReduceArgs& args, uint32_t num_blocks) {
  launch(kernels_.all_reduce_one_shot, exchange_shape(num_blocks), args);
}

void GpuKernels::all_reduce_two_shot(const AllReduceArgs& args, uint32_t num_blocks) {
  launch(kernels_.all_reduce_two_shot, exchange_shape(num_blocks), args);
}

void GpuKernels::all_gather_ranks(const AllGatherArgs& args, uint32_t num_blocks) {
  launch(kernels_.all_gather_ranks, exchange_shape(num_blocks), args);
}

void GpuKernels::pack_codes(const PackCodesArgs& args) {
  const uint32_t tiles = tiles_for(args.rows, kTileRows) * tiles_for(args.cols, kTileColumns);
  launch(kernels_.pack_codes, {.grid_x = tiles_for(tiles, 8), .threads = 256}, args);
}

void GpuKernels::pack_halves(const PackHalvesArgs& args) {
  const uint32_t tiles = tiles_for(args.rows, kTileRows) * tiles_for(args.cols, kTileColumns);
  launch(kernels_.pack_halves, {.grid_x = tiles_for(tiles, 8), .threads = 256}, args);
}

void GpuKernels::random_tiles(const RandomTilesArgs& args) {
  launch(kernels_.random_tiles, {.grid_x = num_multiprocessors_ * 8, .threads = 256}, args);
}

void GpuKernels::random_embeddings(const RandomEmbeddingsArgs& args) {
  launch(kernels_.random_embeddings, {.grid_x = num_multiprocessors_ * 8, .threads = 256}, args);
}

void GpuKernels::read_all(const ReadAllArgs& args) {
  launch(kernels_.read_all, {.grid_x = num_multiprocessors_ * 4, .threads = 512}, args);
}

void GpuKernels::multiply_add_peak(const MultiplyAddArgs& args, uint32_t num_blocks) {
  launch(kernels_.multiply_add_peak,
         {.grid_x = num_blocks, .threads = 256, .shared_bytes = kMultiplyAddShared}, args);
}

}  // namespace tetrad::gpu
