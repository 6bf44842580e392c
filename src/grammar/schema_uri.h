#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tetrad::grammar {

/// RFC 3986, section 5: what a reference means within a document at `base`; without fragment.
std::string resolve_uri(std::string_view base, std::string_view reference);

/// The part behind '#', or nothing; and the part before it.
std::string_view uri_fragment(std::string_view uri);
std::string_view without_fragment(std::string_view uri);

/// None: a % without two hexadecimal digits.
std::optional<std::string> percent_decoded(std::string_view text);

}  // namespace tetrad::grammar
