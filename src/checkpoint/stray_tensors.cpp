#include "checkpoint/stray_tensors.h"

#include <fmt/format.h>

#include <set>
#include <string>

#include "checkpoint/architecture.h"
#include "checkpoint/module_place.h"

namespace tetrad {
namespace {

/// Tensors of the model itself.
std::set<std::string, std::less<>> claimed_tensors(const Checkpoint& checkpoint) {
  std::set<std::string, std::less<>> claimed;
  for (const ExpectedTensor& expected : expected_tensors(checkpoint.config())) {
    if (!expected.is_matrix()) {
      claimed.insert(expected.name);
      continue;
    }
    const ModulePlace place = find_module(checkpoint.tensors(), expected.name);
    for (const auto& [suffix, view] : place.tensors)
      claimed.insert(place.tensor_name(suffix));
  }
  return claimed;
}

}  // namespace

std::vector<std::string_view> stray_tensors(const Checkpoint& checkpoint) {
  const auto claimed = claimed_tensors(checkpoint);
  const ModelConfig& config = checkpoint.config();
  std::vector<std::string_view> strays;
  for (const auto& [name, view] : checkpoint.tensors()) {
    if (!claimed.contains(name) && !is_mtp_tensor(name, config) &&
        !parse_kv_scale_name(name, config))
      strays.push_back(name);
  }
  return strays;
}

Result<void> check_no_stray_tensors(const Checkpoint& checkpoint) {
  const auto strays = stray_tensors(checkpoint);
  if (strays.empty()) return {};
  return fail(ErrorCode::corrupt_data,
              "{}: tensor \"{}\" at byte {} belongs to no part of the model that config.json "
              "describes{}; tetrad inspect lists all of them",
              checkpoint.shard_of(strays.front()), strays.front(),
              checkpoint.file_offset_of(strays.front()),
              strays.size() == 1 ? "" : fmt::format(", and {} more do not", strays.size() - 1));
}

}  // namespace tetrad
