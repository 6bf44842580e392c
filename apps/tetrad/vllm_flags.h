#pragma once

// Flags of vLLM's command line that choose nothing here. A copied command has to start where it
// would do the same without them, and must not where it would not.

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace tetrad {

/// Adds them all. What is given and does nothing is said in `notes`, one line each; what would
/// change the answers or the surroundings in a way that is not there is refused with the reason.
/// `notes` must outlive the parsing.
void add_vllm_flags(CLI::App& verb, std::vector<std::string>& notes);

}  // namespace tetrad
