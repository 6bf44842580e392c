#pragma once

#include <string>
#include <string_view>

namespace tetrad::gpu {

/// What a PTX text says that it needs, "" where it does not.
struct PtxHeader {
  std::string version;  // "8.3"
  std::string target;   // "sm_90a"
};

PtxHeader read_ptx_header(std::string_view ptx);

}  // namespace tetrad::gpu
