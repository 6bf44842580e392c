#include "quant/scale_search.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/dtype.h"
#include "quant/quant_kernels.h"

namespace tetrad {
namespace {

constexpr auto kWeightsOfGroup = static_cast<size_t>(kSearchGroupWeights);
constexpr auto kGroupsAtOnce = static_cast<size_t>(kSearchGroups);

QuantKernels::Search search_of(const QuantKernels& kernels, ScaleSearch search) {
  switch (search) {
    case ScaleSearch::amax:
      return kernels.search_amax;
    case ScaleSearch::fast:
      return kernels.search_fast;
    case ScaleSearch::exact:
      break;
  }
  return kernels.search_exact;
}

/// Group g of `rows` becomes lane g; lanes without a group keep what they have.
void to_lanes(std::span<const float> rows, float (&lanes)[kWeightsOfGroup][kGroupsAtOnce]) {
  const size_t groups = rows.size() / kWeightsOfGroup;
  for (size_t g = 0; g < groups; ++g) {
    for (size_t i = 0; i < kWeightsOfGroup; ++i)
      lanes[i][g] = rows[g * kWeightsOfGroup + i];
  }
}

/// The importance of the groups from `group` on, which begins anew at every row.
void importance_to_lanes(std::span<const float> importance, size_t group, size_t count,
                         SearchBatch& batch) {
  const size_t groups_of_row = importance.size() / kWeightsOfGroup;
  for (size_t g = 0; g < count; ++g) {
    const float* of_group = importance.data() + (group + g) % groups_of_row * kWeightsOfGroup;
    for (size_t i = 0; i < kWeightsOfGroup; ++i)
      batch.importance[i][g] = of_group[i];
  }
}

void store_group(const SearchedBatch& found, size_t g, std::byte* codes, std::byte* scale) {
  static_assert(std::endian::native == std::endian::little);
  std::memcpy(codes, &found.codes[0][g], sizeof(uint32_t));
  std::memcpy(codes + sizeof(uint32_t), &found.codes[1][g], sizeof(uint32_t));
  const uint16_t bits = float_to_f16(found.scales[g]);
  std::memcpy(scale, &bits, sizeof bits);
}

}  // namespace

std::string_view scale_search_name(ScaleSearch search) {
  switch (search) {
    case ScaleSearch::amax:
      return "amax";
    case ScaleSearch::fast:
      return "fast";
    case ScaleSearch::exact:
      return "exact";
  }
  return "unknown";
}

void quantize_groups_with(const QuantKernels& kernels, std::span<const float> weights,
                          std::span<const float> importance, ScaleSearch search,
                          std::span<std::byte> codes, std::span<std::byte> scales,
                          ScaleSigns signs) {
  const QuantKernels::Search run = search_of(kernels, search);
  SearchBatch batch = {};
  batch.positive_only = signs == ScaleSigns::positive;
  if (importance.empty()) {
    for (auto& lanes : batch.importance)
      std::fill(std::begin(lanes), std::end(lanes), 1.0f);
  }
  SearchedBatch found;
  const size_t num_groups = weights.size() / kWeightsOfGroup;
  for (size_t group = 0; group < num_groups; group += kGroupsAtOnce) {
    const size_t count = std::min(kGroupsAtOnce, num_groups - group);
    to_lanes(weights.subspan(group * kWeightsOfGroup, count * kWeightsOfGroup), batch.weights);
    if (!importance.empty()) importance_to_lanes(importance, group, count, batch);
    run(batch, found);
    for (size_t g = 0; g < count; ++g) {
      store_group(found, g, codes.data() + (group + g) * kWeightsOfGroup / 2,
                  scales.data() + (group + g) * sizeof(uint16_t));
    }
  }
}

void quantize_groups(std::span<const float> weights, std::span<const float> importance,
                     ScaleSearch search, std::span<std::byte> codes, std::span<std::byte> scales,
                     ScaleSigns signs) {
  quantize_groups_with(quant_kernels(), weights, importance, search, codes, scales, signs);
}

}  // namespace tetrad
