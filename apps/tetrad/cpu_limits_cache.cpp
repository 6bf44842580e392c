#include "cpu_limits_cache.h"

#include <fmt/core.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "base/mapped_file.h"
#include "base/pending_file.h"
#include "checkpoint/json_fields.h"
#include "quant/pretty_json.h"

namespace tetrad {
namespace {

constexpr size_t kMostCacheBytes = 16 << 20;

struct NamedLimit {
  std::string_view name;
  CpuLimit CpuLimits::* limit;
};

constexpr std::array<NamedLimit, 5> kNamedLimits = {{
    {"read_gb_per_s", &CpuLimits::read_gb_per_s},
    {"int8_gops", &CpuLimits::int8_gops},
    {"bf16_gops", &CpuLimits::bf16_gops},
    {"f32_gops", &CpuLimits::f32_gops},
    {"byte_table_gb_per_s", &CpuLimits::byte_table_gb_per_s},
}};

std::string cache_key(std::string_view cpu, int threads) {
  return fmt::format("{}, {} threads", cpu, threads);
}

template <class Value>
Result<Value> required(Result<std::optional<Value>> value, std::string_view name) {
  if (!value) return tl::unexpected<Error>(std::move(value.error()));
  std::optional<Value>& there = *value;
  if (!there) return fail(ErrorCode::corrupt_data, "{} is missing", name);
  return *std::move(there);
}

Result<int64_t> required_count(const JsonFields& fields, std::string_view key, int64_t most) {
  return required(fields.integer(key, 1, most), fields.name(key));
}

Result<double> required_speed(const JsonFields& fields, std::string_view key) {
  return required(fields.number(key, 0, std::numeric_limits<double>::max()), fields.name(key));
}

json::object limit_to_json(const CpuLimit& limit) {
  json::array by_threads;
  for (const LimitFigure& figure : limit.by_threads) {
    by_threads.push_back(json::object{
        {"threads", figure.threads}, {"median", figure.median}, {"best", figure.best}});
  }
  return {{"instruction_set", limit.isa}, {"by_threads", std::move(by_threads)}};
}

Result<CpuLimit> limit_from_json(const json::object& object, const std::string& path) {
  const JsonFields fields(object, path);
  CpuLimit limit;
  TETRAD_ASSIGN(limit.isa,
                required(fields.text("instruction_set"), fields.name("instruction_set")));
  TETRAD_ASSIGN(const json::array* figures, fields.array("by_threads"));
  if (figures == nullptr || figures->empty()) {
    return fail(ErrorCode::corrupt_data, "{} is missing", fields.name("by_threads"));
  }
  for (const json::value& value : *figures) {
    if (!value.is_object()) {
      return fail(ErrorCode::corrupt_data, "{} has {} in it instead of an object",
                  fields.name("by_threads"), json_kind_name(value));
    }
    const JsonFields figure(value.get_object(), fields.name("by_threads") + ".");
    LimitFigure& read = limit.by_threads.emplace_back();
    TETRAD_ASSIGN(const int64_t threads, required_count(figure, "threads", 1 << 20));
    read.threads = static_cast<int>(threads);
    TETRAD_ASSIGN(read.median, required_speed(figure, "median"));
    TETRAD_ASSIGN(read.best, required_speed(figure, "best"));
  }
  return limit;
}

Result<json::object> read_cache(const std::filesystem::path& path) {
  TETRAD_ASSIGN(const std::string text, read_text_file(path, kMostCacheBytes));
  auto value = parse_json(text);
  if (!value) return tl::unexpected<Error>(std::move(value.error()).in(path.string()));
  if (!value->is_object()) {
    return fail(ErrorCode::corrupt_data, "{}: {} instead of an object", path.string(),
                json_kind_name(*value));
  }
  return std::move(value->get_object());
}

}  // namespace

json::object cpu_limits_to_json(const CpuLimits& limits) {
  json::object object{
      {"cpu", limits.cpu}, {"threads", limits.threads}, {"read_bytes", limits.read_bytes}};
  for (const NamedLimit& named : kNamedLimits)
    object[named.name] = limit_to_json(limits.*named.limit);
  return object;
}

Result<CpuLimits> cpu_limits_from_json(const json::value& value) {
  if (!value.is_object()) {
    return fail(ErrorCode::corrupt_data, "{} instead of an object", json_kind_name(value));
  }
  const JsonFields fields(value.get_object());
  CpuLimits limits;
  TETRAD_ASSIGN(limits.cpu, required(fields.text("cpu"), "cpu"));
  TETRAD_ASSIGN(const int64_t threads, required_count(fields, "threads", 1 << 20));
  limits.threads = static_cast<int>(threads);
  TETRAD_ASSIGN(limits.read_bytes, required_count(fields, "read_bytes", int64_t{1} << 50));
  for (const NamedLimit& named : kNamedLimits) {
    TETRAD_ASSIGN(const json::object* limit, fields.object(named.name));
    if (limit == nullptr) return fail(ErrorCode::corrupt_data, "{} is missing", named.name);
    TETRAD_ASSIGN(limits.*named.limit, limit_from_json(*limit, std::string(named.name) + "."));
  }
  return limits;
}

Result<std::filesystem::path> cpu_limits_cache_path() {
  const auto folder = [](const char* name) {
    const char* value = std::getenv(name);
    return std::filesystem::path(value == nullptr ? "" : value);
  };
  std::filesystem::path cache = folder("XDG_CACHE_HOME");
  if (!cache.is_absolute()) {  // the rule of XDG: a relative one is to be ignored
    const std::filesystem::path home = folder("HOME");
    if (!home.is_absolute()) {
      return fail(ErrorCode::not_found, "no folder for caches: set XDG_CACHE_HOME or HOME");
    }
    cache = home / ".cache";
  }
  return cache / "tetrad" / "cpu_limits.json";
}

Result<std::filesystem::path> store_cpu_limits(const CpuLimits& limits) {
  TETRAD_ASSIGN(std::filesystem::path path, cpu_limits_cache_path());
  std::error_code failure;
  std::filesystem::create_directories(path.parent_path(), failure);
  if (failure) {
    return fail(ErrorCode::io, "cannot create {}: {}", path.parent_path().string(),
                failure.message());
  }
  auto known = read_cache(path);
  if (!known && known.error().code != ErrorCode::not_found) {
    log::warn("{}; starting it anew", known.error().message);
  }
  json::object entries = known ? std::move(*known) : json::object();
  entries[cache_key(limits.cpu, limits.threads)] = cpu_limits_to_json(limits);
  TETRAD_TRY(write_text_file(path, to_pretty_json(entries)));
  return path;
}

Result<CpuLimits> load_cpu_limits(int threads) {
  TETRAD_ASSIGN(const std::filesystem::path path, cpu_limits_cache_path());
  const std::string key = cache_key(cpu_model(), threads);
  auto known = read_cache(path);
  if (!known && known.error().code != ErrorCode::not_found) {
    return tl::unexpected<Error>(std::move(known.error()));
  }
  const json::value* entry = known ? known->if_contains(key) : nullptr;
  if (entry == nullptr) {
    return fail(ErrorCode::not_found, "{} has nothing for {}: run tetrad bench limits --threads {}",
                path.string(), key, threads);
  }
  auto limits = cpu_limits_from_json(*entry);
  if (!limits) return tl::unexpected<Error>(std::move(limits.error()).in(path.string()));
  return limits;
}

}  // namespace tetrad
