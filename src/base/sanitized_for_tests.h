#pragma once

// GCC tells of a sanitizer by a macro, Clang by a feature.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TETRAD_SANITIZED_FOR_TESTS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TETRAD_SANITIZED_FOR_TESTS 1
#endif
#endif

namespace tetrad {

/// Whether this is a sanitizer's build, ten times slower: tests whose numbers the release build
/// checks may leave out there what takes minutes.
#if defined(TETRAD_SANITIZED_FOR_TESTS)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace tetrad
