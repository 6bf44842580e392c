#include "collectives/rank_place.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace tetrad::collectives {
namespace {

template <size_t kSize>
void set_text(std::array<char, kSize>& to, std::string_view text) {
  std::copy_n(text.begin(), std::min(text.size(), kSize - 1), to.begin());
}

std::string first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

Result<std::vector<RankPlace>> places_on_one_machine(gpu::Device& device,
                                                     parallel::Communicator& ranks) {
  TETRAD_ASSIGN(const gpu::DeviceInfo info, device.info());
  RankPlace mine;
  set_text(mine.machine, first_line("/proc/sys/kernel/random/boot_id"));
  std::array<char, 64> space{};
  if (readlink("/proc/self/ns/pid", space.data(), space.size() - 1) > 0)
    mine.process_namespace = space;
  mine.process = getpid();
  mine.device = info.index;
  set_text(mine.gpu_name,
           info.bus_id.empty() ? info.name : fmt::format("{} ({})", info.name, info.bus_id));
  std::vector<RankPlace> places(static_cast<size_t>(ranks.size()));
  TETRAD_TRY(
      parallel::all_gather_values<RankPlace>(ranks, std::span<const RankPlace>(&mine, 1), places));
  const auto elsewhere = std::ranges::find_if(
      places, [&](const RankPlace& place) { return place.machine != places[0].machine; });
  if (elsewhere != places.end())
    return fail(ErrorCode::unsupported,
                "ranks 0 and {} are on two machines, between which NCCL carries messages, memory "
                "does not",
                elsewhere - places.begin());
  return places;
}

}  // namespace tetrad::collectives
