#include "process_world.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace tetrad {
namespace {

constexpr int64_t kMostProcesses = 1 << 20;

/// A variable's number; none where it is not set.
Result<std::optional<int64_t>> number_in(const Environment& environment, const char* name) {
  const char* text = environment(name);
  if (text == nullptr) return std::nullopt;
  const std::string_view digits = text;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), number);
  if (error != std::errc() || end != digits.end() || number < 0 || number > kMostProcesses) {
    return fail(ErrorCode::invalid_argument,
                "{} in the environment is '{}' and not a number of "
                "processes",
                name, digits);
  }
  return number;
}

struct Place {
  int64_t size = 1;
  int64_t index = 0;
};

/// None where one of the variables is not set.
Result<std::optional<Place>> place_in(const Environment& environment, const char* size_name,
                                      const char* index_name) {
  TETRAD_ASSIGN(const auto size, number_in(environment, size_name));
  TETRAD_ASSIGN(const auto index, number_in(environment, index_name));
  if (!size || !index) return std::nullopt;
  if (*index >= *size) {
    return fail(ErrorCode::invalid_argument, "{} is {} and {} {} in the environment", size_name,
                *size, index_name, *index);
  }
  return Place{*size, *index};
}

std::string mpirun_line(int64_t ranks, const PodGroup* pods) {
  return fmt::format(
      "mpirun -n {}{} tetrad …", ranks,
      pods == nullptr ? "" : fmt::format(" --enable-recovery --host {}", pods->hosts()));
}

}  // namespace

const char* variable_of_process(const char* name) {
  return std::getenv(name);
}

Result<std::optional<ProcessWorld>> mpi_world(const Environment& environment) {
  constexpr std::pair<const char*, const char*> kStarters[] = {
      {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"}, {"PMI_SIZE", "PMI_RANK"}};
  for (const auto& [size, rank] : kStarters) {
    TETRAD_ASSIGN(const auto place, place_in(environment, size, rank));
    if (!place) continue;
    return ProcessWorld{.size = place->size, .rank = place->index};
  }
  return std::nullopt;
}

std::string PodGroup::hosts() const {
  const std::string first = leader.empty() ? "LEADER" : leader;
  const size_t end = std::min(first.find('.'), first.size());
  std::string hosts = first;
  for (int64_t i = 1; i < size; ++i)
    hosts += fmt::format(",{}-{}{}", first.substr(0, end), i, first.substr(end));
  return hosts;
}

Result<std::optional<PodGroup>> pod_group(const Environment& environment) {
  TETRAD_ASSIGN(const auto place, place_in(environment, "LWS_GROUP_SIZE", "LWS_WORKER_INDEX"));
  if (!place || place->size < 2) return std::nullopt;
  const char* leader = environment("LWS_LEADER_ADDRESS");
  return PodGroup{
      .size = place->size, .index = place->index, .leader = leader == nullptr ? "" : leader};
}

Result<void> check_world(int64_t ranks, const std::optional<ProcessWorld>& world,
                         const std::optional<PodGroup>& pods, bool has_mpi) {
  constexpr std::string_view kFlag = "--tensor-parallel-size";
  if (!world) {
    if (!pods || ranks == 1) return {};
    return fail_param(
        kFlag,
        "{} {}: this pod is number {} of a group of {} (LWS_GROUP_SIZE), and mpirun "
        "did not start this process; on the leader run {}, and in the other pods what "
        "mpirun starts processes by, such as sshd",
        kFlag, ranks, pods->index, pods->size, mpirun_line(ranks, &*pods));
  }
  if (world->size != ranks) {
    return fail_param(
        kFlag, "{} {}: mpirun started {} {}; {}", kFlag, ranks, world->size,
        world->size == 1 ? "process" : "processes",
        ranks == 1
            ? fmt::format("say {} {}, or start it without mpirun", kFlag, world->size)
            : fmt::format("run {}, or without mpirun for threads", mpirun_line(ranks, nullptr)));
  }
  if (ranks > 1 && !has_mpi) {
    return fail_param(kFlag,
                      "{} {}: mpirun started these processes, and this tetrad was built without "
                      "MPI; build it with -DTETRAD_MPI=ON, or start it without mpirun for threads",
                      kFlag, ranks);
  }
  if (pods && ranks % pods->size != 0) {
    return fail_param(kFlag, "{} {}: the ranks do not divide over the {} pods of LWS_GROUP_SIZE",
                      kFlag, ranks, pods->size);
  }
  return {};
}

}  // namespace tetrad
