#pragma once

// Where the time of a forward pass goes: a Kernels that passes every operation on and measures it.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"

namespace tetrad {

class TimedKernels final : public Kernels {
 public:
  struct Entry {
    std::string operation;  // "attention", "linear 8192 x 3072": rows of all matrices x columns
    int64_t calls = 0;
    double seconds = 0;
  };

  explicit TimedKernels(std::shared_ptr<Kernels> kernels) : kernels_(std::move(kernels)) {}

  /// Since the last clear(), in the order of first use.
  const std::vector<Entry>& entries() const { return entries_; }
  void clear() { entries_.clear(); }

  std::string_view name() const override { return kernels_->name(); }
  void embed(const WeightMatrix& table, std::span<const int32_t> token_ids,
             Activations out) override;
  void rms_norm(Activations x, std::span<const float> weight, float eps, Activations out) override;
  void linear(Activations x, std::span<const Projection> projections) override;
  void add(Activations x, Activations y) override;
  void rope(Activations x, std::span<const int32_t> positions,
            const RopeParameters& parameters) override;
  void write_kv(Activations k, Activations v, std::span<const int64_t> slot_mapping,
                const KvCacheLayer& cache) override;
  void attention(Activations q, const Batch& batch, const KvCacheLayer& cache,
                 Activations out) override;
  void route(Activations router_logits, std::span<const float> bias, Routing routing) override;
  void experts(Activations x, const ExpertWeights& weights, const Routing& routing,
               Activations out) override;
  using Kernels::linear;

 private:
  template <class Function>
  void timed(std::string_view operation, const Function& function);

  std::shared_ptr<Kernels> kernels_;
  std::vector<Entry> entries_;
};

}  // namespace tetrad
