// The threaded backend: splits every operation over the pool and leaves the arithmetic to the inner
// loops of one instruction set (simd_kernels.h). What takes too little time to be worth a second
// implementation (embedding, RoPE, cache writes, routing) is the reference's, on a share of the
// rows.

#include <fmt/core.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/cpu_features.h"
#include "kernels/cpu/any_matmul.h"
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/expert_layer.h"
#include "kernels/cpu/matmul_input.h"
#include "kernels/cpu/row_pieces.h"
#include "kernels/cpu/shares.h"
#include "kernels/cpu/simd_kernels.h"
#include "kernels/kernels.h"

namespace tetrad {
namespace {

class CpuKernels final : public Kernels {
 public:
  CpuKernels(std::shared_ptr<ThreadPool> pool, const SimdKernels& simd, ActivationType activations)
      : pool_(std::move(pool)),
        simd_(simd),
        matmul_(simd, activations),
        attention_(*pool_, simd),
        experts_(*pool_, simd, matmul_),
        reference_(make_reference_kernels()),
        name_(fmt::format("cpu ({}, {} thread{}, {} activations)", simd.isa, pool_->num_threads(),
                          pool_->num_threads() == 1 ? "" : "s",
                          activations == ActivationType::int8 ? "int8" : "float32")) {}

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

  void linear(Activations x, std::span<const Projection> projections) override {
    input_rows_.resize(static_cast<size_t>(x.rows));
    input_int8_rows_.clear();
    for (int64_t i = 0; i < x.rows; ++i)
      input_rows_[static_cast<size_t>(i)] = x.row(i);
    const auto takes_int8 = [this](const Projection& p) { return matmul_.takes_int8(*p.weight); };
    if (std::ranges::any_of(projections, takes_int8)) {
      input_int8_.quantize(x, *pool_, simd_);
      for (int64_t i = 0; i < x.rows; ++i)
        input_int8_rows_.push_back(input_int8_.row(i));
    }
    int64_t total_rows = 0;
    for (const Projection& projection : projections)
      total_rows += projection.weight->rows;
    pieces_.start(total_rows, x.rows * x.cols, pool_->num_threads());
    for (const Projection& projection : projections)
      pieces_.add(projection.weight->rows);
    pieces_.deal(*pool_, [&](int, RowPiece piece, const RowPiece* next) {
      const auto& [weight, out] = projections[piece.matrix];
      AnyMatMul::Next goes_on;
      if (next != nullptr) goes_on = {projections[next->matrix].weight, next->rows.begin};
      matmul_.multiply(*weight, piece.rows, {input_rows_.data(), input_int8_rows_.data()}, x.rows,
                       out.data + piece.rows.begin, out.cols, goes_on);
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
    attention_.run(q, batch, cache, out);
  }

  void experts(Activations x, const ExpertWeights& weights, const Routing& routing,
               Activations out) override {
    experts_.run(x, weights, routing, out);
  }

 private:
  template <class Body>
  void for_each_share(int64_t rows, const Body& body) {
    for_each_share_of_rows(*pool_, rows, body);
  }

  std::shared_ptr<ThreadPool> pool_;
  const SimdKernels& simd_;
  AnyMatMul matmul_;
  TiledAttention attention_;
  ExpertLayer experts_;
  std::unique_ptr<Kernels> reference_;
  std::string name_;
  // The input of linear(), kept for its memory.
  Int8Rows input_int8_;
  std::vector<const float*> input_rows_;
  std::vector<const Int8Block*> input_int8_rows_;
  RowPieces pieces_;
};

bool machine_has_avx2() {
#if defined(__x86_64__)
  return processor_has_avx2() && __builtin_cpu_supports("f16c");
#else
  return false;
#endif
}

bool machine_has_avx512() {
#if defined(__x86_64__)
  return machine_has_avx2() && processor_has_avx512() && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512vnni");
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
                                                  std::string_view isa,
                                                  ActivationType activations) {
  TETRAD_ASSIGN(const SimdKernels* simd, choose(isa));
  return std::make_unique<CpuKernels>(std::move(pool), *simd, activations);
}

}  // namespace tetrad
