#include "gpu/shared_library.h"

#include <dlfcn.h>
#include <fmt/ranges.h>

namespace tetrad::gpu {

Result<SharedLibrary> SharedLibrary::open(std::span<const char* const> names) {
  std::vector<std::string> reasons;
  for (const char* name : names) {
    if (void* handle = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return SharedLibrary(name, handle);
    const char* reason = dlerror();
    reasons.emplace_back(reason != nullptr ? reason : name);
  }
  return fail(ErrorCode::not_found, "{}", fmt::join(reasons, "; "));
}

void* SharedLibrary::address_of(const char* name) const {
  return dlsym(handle_, name);
}

Result<void> SharedLibrary::check_all_found(std::string_view advice) const {
  if (missing_.empty()) return {};
  return fail(ErrorCode::unsupported, "{} is too old: it lacks {}; {}", name_,
              fmt::join(missing_, ", "), advice);
}

}  // namespace tetrad::gpu
