#include "checkpoint/module_place.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

namespace tetrad {
namespace {

/// "<experts>.<expert>.<projection>"
struct ExpertName {
  std::string_view experts;
  int64_t expert = 0;
  std::string_view projection;
};

std::optional<ExpertName> parse_expert_name(std::string_view module) {
  constexpr std::string_view kExperts = ".experts.";
  const size_t at = module.find(kExperts);
  if (at == std::string_view::npos) return std::nullopt;
  ExpertName name{.experts = module.substr(0, at + kExperts.size() - 1)};
  module.remove_prefix(at + kExperts.size());
  const auto [end, error] =
      std::from_chars(module.data(), module.data() + module.size(), name.expert);
  if (error != std::errc() || name.expert < 0) return std::nullopt;
  module.remove_prefix(static_cast<size_t>(end - module.data()));
  if (!module.starts_with('.')) return std::nullopt;
  name.projection = module.substr(1);
  return name;
}

struct ProjectionAliases {
  std::string_view name, alias;
  std::optional<int64_t> half;  // of w13 and gate_up_proj
};

constexpr std::array kProjections = {ProjectionAliases{"w1", "gate_proj", 0},
                                     ProjectionAliases{"w3", "up_proj", 1},
                                     ProjectionAliases{"w2", "down_proj", std::nullopt}};

constexpr std::array<std::string_view, 2> kGateAndUp = {"w13", "gate_up_proj"};

/// The module of that name. One of all experts may be a single tensor without a suffix.
ModulePlace look_up(const TensorMap& tensors, std::string module, bool is_fused) {
  ModulePlace place{.module = std::move(module)};
  place.tensors = tensors_of_module(tensors, place.module);
  if (!is_fused) return place;
  const auto bare = tensors.find(place.module);
  if (bare != tensors.end()) {
    place.is_bare = place.tensors.emplace("weight", &bare->second).second;
  }
  return place;
}

ModulePlace find_fused(const TensorMap& tensors, const ExpertName& name,
                       const ProjectionAliases& projection) {
  const auto look = [&](std::string_view fused) {
    ModulePlace place = look_up(tensors, fmt::format("{}.{}", name.experts, fused), true);
    place.expert = name.expert;
    return place;
  };
  for (const std::string_view own : {projection.name, projection.alias}) {
    if (ModulePlace place = look(own); !place.tensors.empty()) return place;
  }
  if (!projection.half) return {};
  for (const std::string_view both : kGateAndUp) {
    ModulePlace place = look(both);
    if (place.tensors.empty()) continue;
    place.half = projection.half;
    return place;
  }
  return {};
}

/// Part `index` of `count` equal ones along the first dimension.
TensorView part_of(const TensorView& tensor, int64_t index, int64_t count) {
  TensorView part = tensor;
  const size_t bytes = tensor.bytes.size() / static_cast<size_t>(count);
  part.bytes = tensor.bytes.subspan(bytes * static_cast<size_t>(index), bytes);
  part.shape[0] /= count;
  return part;
}

/// Gate or up of an expert's tensor. Rows of both, or whole blocks of them, or two numbers, are cut
/// in the middle; one number or one row of blocks belongs to both.
Result<TensorView> half_of(const TensorView& tensor, int64_t half, int64_t rows,
                           const std::string& name) {
  if (tensor.shape.empty() || tensor.shape[0] == 1) return tensor;
  const int64_t length = tensor.shape[0];
  const bool are_rows = length == 2 * rows;
  const bool are_blocks = length % 2 == 0 && length * kFp8BlockSize == 2 * rows;
  const bool are_numbers = length == 2 && tensor.shape.size() == 1;
  if (are_rows || are_blocks || are_numbers) return part_of(tensor, half, 2);
  return fail(ErrorCode::unsupported,
              "{} has {} rows for each expert, which cannot be cut into {} of gate and {} of up",
              name, length, rows, rows);
}

}  // namespace

std::string ModulePlace::tensor_name(std::string_view suffix) const {
  if (is_bare && suffix == "weight") return module;
  return fmt::format("{}.{}", module, suffix);
}

ModulePlace find_module(const TensorMap& tensors, std::string_view module) {
  ModulePlace own = look_up(tensors, std::string(module), false);
  if (!own.tensors.empty()) return own;
  const std::optional<ExpertName> name = parse_expert_name(module);
  if (!name) return own;
  for (const ProjectionAliases& projection : kProjections) {
    if (projection.name != name->projection) continue;
    ModulePlace renamed = look_up(
        tensors, fmt::format("{}.{}.{}", name->experts, name->expert, projection.alias), false);
    if (!renamed.tensors.empty()) return renamed;
    ModulePlace fused = find_fused(tensors, *name, projection);
    if (!fused.tensors.empty()) return fused;
  }
  return own;
}

Result<void> refuse_gpt_oss_experts(const TensorMap& tensors, std::string_view module) {
  const std::optional<ExpertName> name = parse_expert_name(module);
  if (!name) return {};
  for (const char* projection : {"gate_up_proj", "down_proj"}) {
    const std::string blocks = fmt::format("{}.{}_blocks", name->experts, projection);
    if (!tensors.contains(blocks)) continue;
    return fail(ErrorCode::unsupported,
                "\"{}\" holds the experts in gpt-oss's MXFP4 layout, which is not implemented",
                blocks);
  }
  return {};
}

Result<ExpertSlices> ExpertSlices::cut(const ModulePlace& place, int64_t num_experts,
                                       int64_t rows) {
  ExpertSlices slices;
  const int64_t expert = place.expert.value_or(num_experts);
  slices.views_.reserve(place.tensors.size());
  for (const auto& [suffix, view] : place.tensors) {
    const std::string name = place.tensor_name(suffix);
    if (view->shape.empty() || view->shape[0] != num_experts || expert >= num_experts) {
      return fail(ErrorCode::corrupt_data,
                  "{} has shape [{}] and not one part for each of {} experts", name,
                  fmt::join(view->shape, ", "), num_experts);
    }
    TensorView own = part_of(*view, expert, num_experts);
    own.shape.erase(own.shape.begin());
    if (place.half) {
      TETRAD_ASSIGN(own, half_of(own, *place.half, rows, name));
    }
    slices.views_.push_back(std::move(own));
    slices.tensors_.emplace(suffix, &slices.views_.back());
  }
  return slices;
}

}  // namespace tetrad
