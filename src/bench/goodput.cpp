#include "bench/goodput.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace tetrad::bench {

bool ServiceLevel::is_met_by(const RequestRecord& record) const {
  const auto is_within = [](const std::optional<Seconds>& limit,
                            const std::optional<Seconds>& value) {
    return !limit || !value || *value <= *limit;
  };
  return record.outcome == Outcome::completed && is_within(ttft, record.ttft) &&
         is_within(tpot, record.tpot()) && is_within(e2el, record.e2el);
}

Result<ServiceLevel> parse_service_level(const std::vector<std::string>& words) {
  ServiceLevel level;
  for (const std::string& word : words) {
    const size_t colon = std::min(word.find(':'), word.size());
    const std::string name = word.substr(0, colon);
    std::optional<Seconds>* const limit = name == "ttft"   ? &level.ttft
                                          : name == "tpot" ? &level.tpot
                                          : name == "e2el" ? &level.e2el
                                                           : nullptr;
    double milliseconds = 0;
    const char* const begin = word.data() + std::min(colon + 1, word.size());
    const char* const end = word.data() + word.size();
    const auto [stop, ec] = std::from_chars(begin, end, milliseconds);
    const bool is_number = ec == std::errc() && stop == end && std::isfinite(milliseconds);
    if (limit == nullptr || !is_number || milliseconds < 0) {
      return fail_param("--goodput",
                        "--goodput: \"{}\" is not ttft, tpot or e2el with milliseconds, as in "
                        "ttft:500 tpot:50",
                        word);
    }
    if (*limit) return fail_param("--goodput", "--goodput names {} twice", name);
    *limit = Seconds(milliseconds / 1000);
  }
  return level;
}

}  // namespace tetrad::bench
