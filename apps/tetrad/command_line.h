#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace tetrad {

/// Parses the words behind the program's name and runs the verb among them. kExitOk, also after
/// --help; or what is wrong is said on stderr, with the flag or verb that may have been meant, and
/// it is kExitUsage.
int parse_command_line(CLI::App& app, std::vector<std::string> words);

/// --log-level before the verb and behind it.
void add_log_level(CLI::App& app);

}  // namespace tetrad
