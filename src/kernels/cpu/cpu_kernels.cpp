// The threaded backend: splits every operation over the pool and leaves the arithmetic to the inner
// loops of one instruction set (simd_kernels.h). What takes too little time to be worth a second
// implementation (embedding, RoPE, cache writes, routing) is the reference's, on a share of the
// rows.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cpu/expert_groups.h"
#include "kernels/cpu/simd_kernels.h"
#include "kernels/kernels.h"

namespace tetrad {
namespace {

/// Rows of weights are handed out in multiples of this: a cache line of outputs.
constexpr int64_t kRowGrain = 16;

/// The outputs of a token's experts are kept until they are summed: 0.1 MB a token of the real
/// model. So many tokens go through the experts at a time; enough that each weight is used many
/// times.
constexpr int64_t kMaxExpertTokens = 1024;

/// Rows of a format without an inner loop of its own that are expanded at a time: a multiple of the
/// rows that any matmul takes together, few enough to stay in the L2 cache.
constexpr int64_t kExpandedRows = 16;

const unsigned char* bytes(const std::byte* data) {
  return reinterpret_cast<const unsigned char*>(data);
}

MatrixRows to_rows(const WeightMatrix& weight) {
  MatrixRows rows{.data = bytes(weight.data),
                  .scales = bytes(weight.scales),
                  .codebook = weight.codebook.data(),
                  .cols = weight.cols,
                  .row_bytes = weight.row_bytes()};
  if (weight.format == WeightFormat::mxfp4_16) {
    rows.scale_row_bytes = weight.cols / kMxfp4GroupSize * 2;
  } else if (weight.format == WeightFormat::fp8_block) {
    rows.scale_row_bytes = (weight.cols + kFp8BlockSize - 1) / kFp8BlockSize * 4;
    rows.rows_per_scale_row = kFp8BlockSize;
  }
  return rows;
}

KvElement kv_element(DType dtype) {
  if (dtype == DType::f8_e4m3) return KvElement::e4m3;
  return dtype == DType::bf16 ? KvElement::bf16 : KvElement::f32;
}

/// Fewer multiplications than this are done before another thread is awake, and while other
/// programs want the processors it may not wake for long: they stay on the calling thread.
constexpr int64_t kWorthThreads = 1 << 17;

/// Elements begin … end - 1 of something.
struct Share {
  int64_t begin;
  int64_t end;
};

/// The share of [0, count) that belongs to one of num_threads, cut at multiples of kRowGrain.
Share share_of(int64_t count, int thread, int num_threads) {
  const int64_t grains = (count + kRowGrain - 1) / kRowGrain;
  const int64_t begin = grains * thread / num_threads * kRowGrain;
  const int64_t end = grains * (thread + 1) / num_threads * kRowGrain;
  return {std::min(begin, count), std::min(end, count)};
}

Activations part(Activations x, Share share) {
  return {x.row(share.begin), share.end - share.begin, x.cols};
}

template <class T>
std::span<T> part(std::span<T> all, Share share) {
  return all.subspan(static_cast<size_t>(share.begin),
                     static_cast<size_t>(share.end - share.begin));
}

Routing part(const Routing& routing, Share share) {
  const int64_t top_k = routing.num_experts_per_tok;
  const Share choices{share.begin * top_k, share.end * top_k};
  return {part(routing.expert_ids, choices), part(routing.weights, choices), top_k};
}

std::vector<const float*> row_pointers(Activations x) {
  std::vector<const float*> rows(static_cast<size_t>(x.rows));
  for (int64_t i = 0; i < x.rows; ++i)
    rows[static_cast<size_t>(i)] = x.row(i);
  return rows;
}

class CpuKernels final : public Kernels {
 public:
  CpuKernels(std::shared_ptr<ThreadPool> pool, const SimdKernels& simd)
      : pool_(std::move(pool)),
        simd_(simd),
        reference_(make_reference_kernels()),
        name_(fmt::format("cpu ({}, {} thread{})", simd.isa, pool_->num_threads(),
                          pool_->num_threads() == 1 ? "" : "s")) {}

  std::string_view name() const override { return name_; }

  void embed(const WeightMatrix& table, std::span<const int32_t> token_ids,
             Activations out) override {
    for_each_share(out.rows, [&](Share share) {
      reference_->embed(table, part(token_ids, share), part(out, share));
    });
  }

  void rms_norm(Activations x, std::span<const float> weight, float eps, Activations out) override {
    for_each_share(x.rows, [&](Share share) {
      for (int64_t row = share.begin; row < share.end; ++row)
        simd_.rms_norm(x.row(row), weight.data(), x.cols, eps, out.row(row));
    });
  }

  void linear(const WeightMatrix& weight, Activations x, Activations out) override {
    const std::vector<const float*> rows = row_pointers(x);
    for_each_share_of_columns(weight.rows, x.rows * weight.cols, [&](Share share) {
      multiply(weight, share, rows.data(), x.rows, out.data, out.cols);
    });
  }

  void add(Activations x, Activations y) override {
    for_each_share(x.rows, [&](Share share) {
      simd_.add(x.row(share.begin), y.row(share.begin), (share.end - share.begin) * x.cols);
    });
  }

  void rope(Activations x, std::span<const int32_t> positions,
            const RopeParameters& parameters) override {
    for_each_share(x.rows, [&](Share share) {
      reference_->rope(part(x, share), part(positions, share), parameters);
    });
  }

  void write_kv(Activations k, Activations v, std::span<const int64_t> slot_mapping,
                const KvCacheLayer& cache) override {
    for_each_share(k.rows, [&](Share share) {
      reference_->write_kv(part(k, share), part(v, share), part(slot_mapping, share), cache);
    });
  }

  void route(Activations router_logits, std::span<const float> bias, Routing routing) override {
    for_each_share(router_logits.rows, [&](Share share) {
      reference_->route(part(router_logits, share), bias, part(routing, share));
    });
  }

  void attention(Activations q, const Batch& batch, const KvCacheLayer& cache,
                 Activations out) override {
    const std::vector<AttentionTile> tiles = make_tiles(q, batch, cache, out);
    int64_t multiplications = 0;
    for (const AttentionTile& tile : tiles) {
      multiplications += 2 * tile.num_rows * tile.num_heads * tile.num_keys * tile.head_dim;
    }
    // Dealt out like cards: later rows of a prompt see more keys, so ranges would be uneven.
    run(multiplications, [&](int thread, int num_threads) {
      for (auto i = static_cast<size_t>(thread); i < tiles.size();
           i += static_cast<size_t>(num_threads)) {
        simd_.attend(tiles[i]);
      }
    });
  }

  void experts(Activations x, const ExpertWeights& weights, const Routing& routing,
               Activations out) override {
    for (int64_t first = 0; first < x.rows; first += kMaxExpertTokens) {
      const Share tokens{first, std::min(first + kMaxExpertTokens, x.rows)};
      run_experts(part(x, tokens), weights, part(routing, tokens), part(out, tokens));
    }
  }

 private:
  /// Each thread owns a share of every expert's rows. So it has all it needs for its columns of
  /// silu(gate) * up, and later for its columns of the weighted sum: two barriers in all.
  void run_experts(Activations x, const ExpertWeights& weights, const Routing& routing,
                   Activations out) {
    groups_.build(routing, static_cast<int64_t>(weights.w1.size()));
    const auto num_slots = static_cast<int64_t>(routing.expert_ids.size());
    const int64_t intermediate = weights.w1.front().rows;
    const Activations gate = resize(gate_, num_slots, intermediate);
    const Activations up = resize(up_, num_slots, intermediate);
    const Activations down = resize(down_, num_slots, x.cols);
    std::vector<const float*> inputs(static_cast<size_t>(num_slots));
    for (size_t slot = 0; slot < inputs.size(); ++slot)
      inputs[slot] = x.row(groups_.tokens()[slot]);
    const std::vector<const float*> hidden = row_pointers(gate);

    for_each_share_of_columns(intermediate, 2 * num_slots * x.cols, [&](Share share) {
      multiply_groups(weights.w1, inputs, share, gate);
      multiply_groups(weights.w3, inputs, share, up);
      for (int64_t slot = 0; slot < num_slots; ++slot) {
        simd_.silu_multiply(gate.row(slot) + share.begin, up.row(slot) + share.begin,
                            share.end - share.begin);
      }
    });
    for_each_share_of_columns(x.cols, num_slots * intermediate, [&](Share share) {
      multiply_groups(weights.w2, hidden, share, down);
      combine(routing, share, down, out);
    });
  }

  /// body(thread, num_threads) on every thread, or on this one alone.
  template <class Body>
  void run(int64_t multiplications, const Body& body) {
    if (multiplications < kWorthThreads) {
      body(0, 1);
    } else {
      pool_->run([&](int thread) { body(thread, pool_->num_threads()); });
    }
  }

  /// Columns of a result, each of which takes so many multiplications: a share for each thread.
  template <class Body>
  void for_each_share_of_columns(int64_t columns, int64_t multiplications_each, const Body& body) {
    run(columns * multiplications_each, [&](int thread, int num_threads) {
      const Share share = share_of(columns, thread, num_threads);
      if (share.begin < share.end) body(share);
    });
  }

  /// Rows one after the other, a share for each thread; few rows stay on this one.
  template <class Body>
  void for_each_share(int64_t rows, const Body& body) {
    constexpr int64_t kRowsWorthAThread = 8;
    pool_->parallel_for(rows, kRowsWorthAThread,
                        [&](int64_t begin, int64_t end, int) { body(Share{begin, end}); });
  }

  /// Null for the formats of other programs, which have no inner loop of their own.
  SimdKernels::MatMul matmul_for(WeightFormat format) const {
    switch (format) {
      case WeightFormat::f32:
        return simd_.matmul_f32;
      case WeightFormat::f16:
        return simd_.matmul_f16;
      case WeightFormat::bf16:
        return simd_.matmul_bf16;
      case WeightFormat::mxfp4_16:
        return simd_.matmul_mxfp4_16;
      case WeightFormat::fp8_block:
        return simd_.matmul_fp8_block;
      case WeightFormat::codebook4:
      case WeightFormat::fp8:
      case WeightFormat::int4:
      case WeightFormat::int8:
      case WeightFormat::mxfp4:
      case WeightFormat::nvfp4:
        break;
    }
    return nullptr;
  }

  /// SimdKernels::MatMul for a weight of any format, the rows of `share`.
  void multiply(const WeightMatrix& weight, Share share, const float* const* x, int64_t num_tokens,
                float* out, int64_t out_stride) const {
    const SimdKernels::MatMul matmul = matmul_for(weight.format);
    if (matmul != nullptr) {
      matmul(to_rows(weight), share.begin, share.end, x, num_tokens, out, out_stride);
    } else {
      multiply_expanded(weight, share, x, num_tokens, out, out_stride);
    }
  }

  /// A few rows at a time become floats. Each output is the same chain of sums as of an F32 matrix,
  /// so neither the number of tokens nor where a block of rows begins is seen in its bits.
  void multiply_expanded(const WeightMatrix& weight, Share share, const float* const* x,
                         int64_t num_tokens, float* out, int64_t out_stride) const {
    const auto cols = static_cast<size_t>(weight.cols);
    std::vector<float> expanded(static_cast<size_t>(kExpandedRows) * cols);
    const MatrixRows rows{.data = reinterpret_cast<const unsigned char*>(expanded.data()),
                          .cols = weight.cols,
                          .row_bytes = weight.cols * int64_t{sizeof(float)}};
    for (int64_t first = share.begin; first < share.end; first += kExpandedRows) {
      const int64_t count = std::min(kExpandedRows, share.end - first);
      for (int64_t i = 0; i < count; ++i) {
        dequantize_row(weight, first + i,
                       std::span(expanded).subspan(static_cast<size_t>(i) * cols, cols));
      }
      simd_.matmul_f32(rows, 0, count, x, num_tokens, out + first, out_stride);
    }
  }

  static Activations resize(std::vector<float>& memory, int64_t rows, int64_t cols) {
    const auto needed = static_cast<size_t>(rows * cols);
    if (memory.size() < needed) memory.resize(needed);
    return {memory.data(), rows, cols};
  }

  /// out[slot] = W_expert(slot) inputs[slot], for the rows of `share`.
  void multiply_groups(std::span<const WeightMatrix> weights,
                       const std::vector<const float*>& inputs, Share share, Activations out) {
    for (const ExpertGroups::Group& group : groups_.groups()) {
      multiply(weights[static_cast<size_t>(group.expert)], share, inputs.data() + group.slot_begin,
               group.slot_end - group.slot_begin, out.row(group.slot_begin), out.cols);
    }
  }

  /// The columns of `share` of out[t] = sum of the routing's weights times their slots' rows.
  void combine(const Routing& routing, Share share, Activations down, Activations out) const {
    const int64_t top_k = routing.num_experts_per_tok;
    std::vector<const float*> rows(static_cast<size_t>(top_k));
    for (int64_t token = 0; token < out.rows; ++token) {
      for (int64_t choice = 0; choice < top_k; ++choice) {
        const int64_t slot = groups_.slots()[static_cast<size_t>(token * top_k + choice)];
        rows[static_cast<size_t>(choice)] = down.row(slot) + share.begin;
      }
      simd_.weighted_sum(rows.data(), routing.weights.data() + token * top_k, top_k,
                         share.end - share.begin, out.row(token) + share.begin);
    }
  }

  /// One tile for each sequence, KV head and handful of rows.
  static std::vector<AttentionTile> make_tiles(Activations q, const Batch& batch,
                                               const KvCacheLayer& cache, Activations out) {
    const int64_t heads_per_kv = q.cols / cache.head_dim / cache.num_kv_heads;
    const int64_t tile_heads = std::min(heads_per_kv, kMaxTileQueries);
    const int64_t tile_rows = kMaxTileQueries / tile_heads;
    const auto element = static_cast<int64_t>(dtype_size(cache.dtype));
    const int64_t head_bytes = kKvBlockSize * cache.head_dim * element;
    std::vector<AttentionTile> tiles;
    for (const SequenceSlice& sequence : batch.sequences) {
      for (int64_t row = 0; row < sequence.query_len; row += tile_rows) {
        for (int64_t head = 0; head < heads_per_kv * cache.num_kv_heads;) {
          const int64_t kv_head = head / heads_per_kv;
          const int64_t group_end = (kv_head + 1) * heads_per_kv;
          const int64_t num_heads = std::min(tile_heads, group_end - head);
          const int64_t offset = (sequence.query_start + row) * q.cols + head * cache.head_dim;
          tiles.push_back(
              {.q = q.data + offset,
               .out = out.data + offset,
               .row_stride = q.cols,
               .num_rows = std::min(tile_rows, sequence.query_len - row),
               .num_heads = num_heads,
               .head_dim = cache.head_dim,
               .score_scale = cache.k_scale / std::sqrt(static_cast<float>(cache.head_dim)),
               .value_scale = cache.v_scale,
               .num_keys = sequence.context_len + row + 1,
               .block_table = sequence.block_table.data(),
               .k = bytes(cache.k) + kv_head * head_bytes,
               .v = bytes(cache.v) + kv_head * head_bytes,
               .block_bytes = cache.num_kv_heads * head_bytes,
               .kv_element = kv_element(cache.dtype)});
          head += num_heads;
        }
      }
    }
    return tiles;
  }

  std::shared_ptr<ThreadPool> pool_;
  const SimdKernels& simd_;
  std::unique_ptr<Kernels> reference_;
  std::string name_;
  ExpertGroups groups_;
  std::vector<float> gate_, up_, down_;  // kept for their memory
};

bool machine_has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
#else
  return false;
#endif
}

bool machine_has_avx512() {
#if defined(__x86_64__)
  return machine_has_avx2() && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi");
#else
  return false;
#endif
}

Result<const SimdKernels*> choose(std::string_view isa) {
  const bool any = isa == "auto";
  if ((any || isa == "avx512") && machine_has_avx512()) return simd_avx512();
  if ((any || isa == "avx2") && machine_has_avx2()) return simd_avx2();
  if (any || isa == "generic") return simd_generic();
  if (isa == "avx2" || isa == "avx512") {
    return fail_param("--kernels", "this machine does not have {}; use auto", isa);
  }
  return fail_param("--kernels", "'{}' is not one of auto, avx512, avx2, generic", isa);
}

}  // namespace

Result<std::unique_ptr<Kernels>> make_cpu_kernels(std::shared_ptr<ThreadPool> pool,
                                                  std::string_view isa) {
  TETRAD_ASSIGN(const SimdKernels* simd, choose(isa));
  return std::make_unique<CpuKernels>(std::move(pool), *simd);
}

}  // namespace tetrad
