#include "checkpoint/shard_index.h"

#include <string_view>

#include "checkpoint/json_fields.h"

namespace tetrad {
namespace {

Result<void> check_file_name(std::string_view tensor, std::string_view file) {
  const bool leads_out =
      file.find_first_of(std::string_view("/\\\0", 3)) != file.npos || file.find("..") != file.npos;
  if (!file.empty() && file != "." && !leads_out) return {};
  return fail(ErrorCode::corrupt_data,
              "\"weight_map\" puts tensor \"{}\" into \"{}\", which is not the plain name of a "
              "file in the folder",
              tensor, file);
}

}  // namespace

Result<ShardIndex> parse_shard_index(const json::value& index) {
  if (!index.is_object()) {
    return fail(ErrorCode::corrupt_data, "a shard index must be a JSON object, not {}",
                json_kind_name(index));
  }
  const JsonFields fields(index.get_object());
  TETRAD_ASSIGN(const json::object* const weight_map, fields.object("weight_map"));
  if (weight_map == nullptr) return fail(ErrorCode::corrupt_data, "\"weight_map\" is missing");
  ShardIndex shards;
  for (const auto& [tensor, file] : *weight_map) {
    if (!file.is_string()) {
      return fail(ErrorCode::corrupt_data, "\"weight_map\": \"{}\" must be a file name, not {}",
                  std::string_view(tensor), json_kind_name(file));
    }
    TETRAD_TRY(check_file_name(tensor, file.get_string()));
    shards.emplace(std::string(tensor), std::string(file.get_string()));
  }
  if (shards.empty()) return fail(ErrorCode::corrupt_data, "\"weight_map\" names no tensor");
  return shards;
}

}  // namespace tetrad
