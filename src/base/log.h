#pragma once

// One logger for the process, to stderr: stdout belongs to a verb's JSON lines.
// log::info("serving {} on {}", name, port)

#include <spdlog/spdlog.h>

#include <string_view>

#include "base/error.h"

namespace tetrad::log {

using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;

/// level: "debug", "info", "warning" or "error".
Result<void> set_level(std::string_view level);
/// Sends the process's log lines to stderr with time, level and text. Called once, by main().
void init();

}  // namespace tetrad::log
