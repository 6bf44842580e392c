#pragma once

namespace tetrad {

/// Whether what is tested was compiled with a sanitizer, which takes many times as long.
#if defined(TETRAD_SANITIZED)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace tetrad
