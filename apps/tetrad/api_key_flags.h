#pragma once

// Where the server's API keys come from. A key itself is never in an error or in the log.

#include <string>
#include <vector>

#include "base/error.h"

namespace tetrad {

/// The keys of --api-key, of the files of --api-key-file (a key a line; blank lines and those that
/// begin with '#' do not count), and of TETRAD_API_KEY and VLLM_API_KEY in the environment, each
/// once. Errors name flag, file and line: a key that is empty or has blanks or control characters
/// in it, which no header could carry; a file that cannot be read or has no key.
Result<std::vector<std::string>> collect_api_keys(const std::vector<std::string>& given,
                                                  const std::vector<std::string>& files);

}  // namespace tetrad
