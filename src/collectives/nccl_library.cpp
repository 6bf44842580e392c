#include "collectives/nccl_library.h"

namespace tetrad::collectives {
namespace {

constexpr const char* kNcclLibraries[] = {"libnccl.so.2"};
constexpr const char* kRcclLibraries[] = {"librccl.so.1"};
/// 2.18: the oldest that ROCm 6 comes with.
constexpr int kOldestVersion = 21800;

struct Vendor {
  std::string_view library;
  std::string_view what_to_install;
  std::span<const char* const> files;
};
constexpr Vendor kNvidiaVendor{"NCCL", "libnccl2 of NVIDIA's repository", kNcclLibraries};
constexpr Vendor kAmdVendor{"RCCL", "rccl of ROCm", kRcclLibraries};

}  // namespace

Result<NcclLibrary> NcclLibrary::open(std::string_view architecture) {
  if (!architecture.starts_with("sm_") && !architecture.starts_with("gfx"))
    return fail(ErrorCode::unsupported, "neither NCCL nor RCCL is for this GPU ({})", architecture);
  const Vendor& vendor = architecture.starts_with("sm_") ? kNvidiaVendor : kAmdVendor;
  auto opened = gpu::SharedLibrary::open(vendor.files);
  if (!opened)
    return fail(ErrorCode::not_found, "{} was not found; install {} ({})", vendor.files[0],
                vendor.what_to_install, opened.error().message);
  gpu::SharedLibrary& shared = *opened;
  NcclLibrary library;
  NcclFunctions& f = library.functions_;
  shared.find("ncclGetVersion", f.version);
  shared.find("ncclGetUniqueId", f.unique_id);
  shared.find("ncclCommInitRank", f.init_rank);
  shared.find("ncclCommDestroy", f.destroy);
  shared.find("ncclCommAbort", f.abort);
  shared.find("ncclCommGetAsyncError", f.async_error);
  shared.find("ncclAllReduce", f.all_reduce);
  shared.find("ncclAllGather", f.all_gather);
  shared.find("ncclGetErrorString", f.error_text);
  shared.find("ncclGetLastError", f.last_error);
  TETRAD_TRY(shared.check_all_found("install a newer one"));
  int version = 0;
  TETRAD_TRY(library.call(f.version, &version));
  library.name_ = fmt::format("{} {}.{}.{}", vendor.library, version / 10'000, version / 100 % 100,
                              version % 100);
  if (version < kOldestVersion)
    return fail(ErrorCode::unsupported, "{} is {}; 2.18 or later is needed: install {}",
                shared.name(), library.name_, vendor.what_to_install);
  return library;
}

Result<void> NcclLibrary::check(int status, std::string_view function) const {
  if (status == kNcclSuccess) return {};
  const char* text = functions_.error_text(status);
  const char* last = functions_.last_error(nullptr);
  return fail(ErrorCode::io, "{}: {}{}{}; NCCL_DEBUG=INFO in the environment says more", function,
              text != nullptr ? text : fmt::format("error {}", status).c_str(),
              last != nullptr && *last != '\0' ? ", " : "", last != nullptr ? last : "");
}

}  // namespace tetrad::collectives
