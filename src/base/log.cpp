#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

namespace tetrad::log {

Result<void> set_level(std::string_view level) {
  const auto parsed = spdlog::level::from_str(std::string(level));
  // from_str answers "off" for anything it does not know.
  if (parsed == spdlog::level::off && level != "off") {
    return fail_param("--log-level", "'{}' is not one of debug, info, warning, error", level);
  }
  spdlog::set_level(parsed);
  return {};
}

void init() {
  auto logger = spdlog::stderr_color_mt("tetrad");
  logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%-7l%$ %v");
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace tetrad::log
