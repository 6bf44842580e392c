#pragma once

// NVIDIA's NCCL, or AMD's RCCL, which follows it function by function: loaded when it is asked for,
// linked never. The few declarations are of its public documentation: numbers and layouts, which
// are fixed for as long as the library is called libnccl.so.2 or librccl.so.1.

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "gpu/shared_library.h"

namespace tetrad::collectives {

/// By which ranks find each other; of any one of them.
struct NcclUniqueId {
  std::array<char, 128> bytes;
};

using NcclComm = void*;

inline constexpr int kNcclSuccess = 0;
inline constexpr int kNcclInProgress = 7;
inline constexpr int kNcclFloat32 = 7;
inline constexpr int kNcclSum = 0;

struct NcclFunctions {
  template <class... Parameters>
  using Function = gpu::LibraryFunction<Parameters...>;

  Function<int*> version;
  Function<NcclUniqueId*> unique_id;
  Function<NcclComm*, int, NcclUniqueId, int> init_rank;  // ranks, id, rank
  Function<NcclComm> destroy;
  Function<NcclComm> abort;
  Function<NcclComm, int*> async_error;
  // From, to, values of each rank, their type, the operation, communicator, stream.
  Function<const void*, void*, size_t, int, int, NcclComm, void*> all_reduce;
  Function<const void*, void*, size_t, int, NcclComm, void*> all_gather;
  const char* (*error_text)(int status) = nullptr;
  const char* (*last_error)(NcclComm comm) = nullptr;
};

class NcclLibrary {
 public:
  /// That of a GPU's vendor, by DeviceInfo::architecture. Errors: not_found, with what to install;
  /// unsupported, where it is too old or there is none for it.
  static Result<NcclLibrary> open(std::string_view architecture);

  /// "NCCL 2.28.9"
  const std::string& name() const { return name_; }
  const NcclFunctions& functions() const { return functions_; }

  template <class... Parameters>
  Result<void> call(const gpu::LibraryFunction<Parameters...>& function,
                    std::type_identity_t<Parameters>... arguments) const {
    return check(function.call(arguments...), function.name);
  }
  /// The error of a status other than success, in the library's words. Errors: io.
  Result<void> check(int status, std::string_view function) const;

 private:
  std::string name_;
  NcclFunctions functions_;
};

}  // namespace tetrad::collectives
