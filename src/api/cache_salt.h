#pragma once

#include <string>
#include <string_view>

#include "api/api_keys.h"

namespace tetrad::api {

/// Who finds whose prompts in the prefix cache.
enum class PrefixSharing {
  within_key,  // clients of one API key
  all_keys,    // everybody: faster, but the time to the first token tells what others have asked
};

/// The salt of a client's prefixes: different for clients that must not share, whatever salts they
/// ask for ("": none). Holds while the server runs: it names the key by its place among them.
std::string cache_salt(PrefixSharing sharing, const ApiKeys& keys, const RequestHead& head,
                       std::string_view requested);

}  // namespace tetrad::api
