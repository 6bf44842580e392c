#include "plan/interconnect.h"

#include <array>

namespace tetrad::plan {
namespace {

// Latency: measured, small messages. Bandwidth: measured for pcie3, nominal for the others.
constexpr std::array kKnownInterconnects = {
    // Four GPUs of RDNA4, ranks write into each other's memory.
    KnownInterconnect{"pcie3-p2p", 7e-6, 13.5e9},
    KnownInterconnect{"pcie5-p2p", 7e-6, 63e9},
    // The same through the vendor's library.
    KnownInterconnect{"pcie3-rccl", 60e-6, 13.5e9},
    KnownInterconnect{"pcie5-rccl", 60e-6, 63e9},
    // Eight H100, a kernel of its own for small messages.
    KnownInterconnect{"nvlink4", 6e-6, 450e9},
};

}  // namespace

std::optional<double> Interconnect::seconds(double bytes_sent) const {
  if (!latency_seconds || !bytes_per_second) return std::nullopt;
  return *latency_seconds + bytes_sent / *bytes_per_second;
}

std::span<const KnownInterconnect> known_interconnects() {
  return kKnownInterconnects;
}

}  // namespace tetrad::plan
