#include "kernels/timed_kernels.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>

namespace tetrad {

template <class Function>
void TimedKernels::timed(std::string_view operation, const Function& function) {
  const auto start = std::chrono::steady_clock::now();
  function();
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  auto entry = std::ranges::find(entries_, operation, &Entry::operation);
  if (entry == entries_.end()) entry = entries_.insert(entry, {std::string(operation)});
  ++entry->calls;
  entry->seconds += taken.count();
}

void TimedKernels::embed(const WeightMatrix& table, std::span<const int32_t> token_ids,
                         Activations out) {
  timed("embed", [&] { kernels_->embed(table, token_ids, out); });
}

void TimedKernels::rms_norm(Activations x, std::span<const float> weight, float eps,
                            Activations out) {
  timed("rms_norm", [&] { kernels_->rms_norm(x, weight, eps, out); });
}

void TimedKernels::linear(Activations x, std::span<const Projection> projections) {
  int64_t rows = 0;
  for (const Projection& projection : projections)
    rows += projection.weight->rows;
  timed(fmt::format("linear {} x {}", rows, x.cols), [&] { kernels_->linear(x, projections); });
}

void TimedKernels::add(Activations x, Activations y) {
  timed("add", [&] { kernels_->add(x, y); });
}

void TimedKernels::rope(Activations x, std::span<const int32_t> positions,
                        const RopeParameters& parameters) {
  timed("rope", [&] { kernels_->rope(x, positions, parameters); });
}

void TimedKernels::write_kv(Activations k, Activations v, std::span<const int64_t> slot_mapping,
                            const KvCacheLayer& cache) {
  timed("write_kv", [&] { kernels_->write_kv(k, v, slot_mapping, cache); });
}

void TimedKernels::attention(Activations q, const Batch& batch, const KvCacheLayer& cache,
                             Activations out) {
  timed("attention", [&] { kernels_->attention(q, batch, cache, out); });
}

void TimedKernels::route(Activations router_logits, std::span<const float> bias, Routing routing) {
  timed("route", [&] { kernels_->route(router_logits, bias, routing); });
}

void TimedKernels::experts(Activations x, const ExpertWeights& weights, const Routing& routing,
                           Activations out) {
  timed("experts", [&] { kernels_->experts(x, weights, routing, out); });
}

}  // namespace tetrad
