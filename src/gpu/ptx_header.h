#pragma once

#include <span>
#include <string>
#include <string_view>

namespace tetrad::gpu {

/// What a PTX text says that it needs, "" where it does not.
struct PtxHeader {
  std::string version;  // "8.3"
  std::string target;   // "sm_90a"
};

PtxHeader read_ptx_header(std::string_view ptx);

/// The text for a GPU of this architecture ("sm_90"): one with what this architecture alone has
/// ("sm_90a"), or else the first that later ones can take too; "" if there is none.
std::string_view ptx_for(std::string_view architecture, std::span<const std::string_view> texts);

}  // namespace tetrad::gpu
