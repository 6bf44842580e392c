#pragma once

namespace tetrad {

/// Whether this is a sanitizer's build, ten times slower: tests whose numbers the release build
/// checks may leave out there what takes minutes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace tetrad
