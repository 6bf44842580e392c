#include "collectives/device_communicator.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "collectives/exchange_communicator.h"
#include "collectives/nccl_communicator.h"
#include "collectives/trial.h"

namespace tetrad::collectives {
namespace {

/// Of the sums of try_out(): long enough for GPUs that several processes share by turns.
constexpr std::chrono::milliseconds kTrialDeadline{5'000};

constexpr std::array<std::pair<Transport, std::string_view>, 4> kTransportNames = {
    {{Transport::automatic, "auto"},
     {Transport::peer, "peer"},
     {Transport::host, "host"},
     {Transport::nccl, "nccl"}}};

Result<std::unique_ptr<DeviceCommunicator>> make_one(gpu::GpuKernels& kernels,
                                                     parallel::Communicator& ranks,
                                                     Transport transport,
                                                     const CommunicatorOptions& options) {
  if (transport == Transport::nccl)
    return make_nccl_communicator(kernels.device(), ranks, options.deadline);
  return make_exchange_communicator(kernels, ranks, transport, options);
}

/// The transport, if it is there and does what it should.
Result<std::unique_ptr<DeviceCommunicator>> make_and_try(gpu::GpuKernels& kernels,
                                                         parallel::Communicator& ranks,
                                                         Transport transport,
                                                         const CommunicatorOptions& options) {
  CommunicatorOptions trial_options = options;
  // To begin takes the library a second; it is tried as it stays.
  const bool stays = transport == Transport::nccl;
  if (!stays) trial_options.deadline = std::min(options.deadline, kTrialDeadline);
  TETRAD_ASSIGN(auto tried, make_one(kernels, ranks, transport, trial_options));
  TETRAD_TRY(try_out(*tried, kernels.device(), ranks));
  if (stays) return tried;
  tried = nullptr;
  return make_one(kernels, ranks, transport, options);
}

}  // namespace

std::string_view transport_name(Transport transport) {
  return std::ranges::find(kTransportNames, transport,
                           &std::pair<Transport, std::string_view>::first)
      ->second;
}

Result<Transport> parse_transport(std::string_view name) {
  for (const auto& [transport, its_name] : kTransportNames) {
    if (name == its_name) return transport;
  }
  return fail(ErrorCode::invalid_argument, "'{}' is none of auto, peer, host and nccl", name);
}

Result<MadeCommunicator> make_device_communicator(gpu::GpuKernels& kernels,
                                                  parallel::Communicator& ranks,
                                                  const CommunicatorOptions& options) {
  MadeCommunicator made;
  std::vector<Transport> transports = {options.transport};
  if (options.transport == Transport::automatic) {
    transports = {Transport::peer, Transport::host, Transport::nccl};
    if (kernels.is_gfx12() && ranks.size() > 1) {
      transports.erase(transports.begin());
      made.reason = "peer memory is not tried on gfx12, where it may hang the machine";
    }
  }
  for (const Transport transport : transports) {
    auto one = make_and_try(kernels, ranks, transport, options);
    if (one) {
      made.communicator = std::move(*one);
      return made;
    }
    made.reason += fmt::format("{}{}: {}", made.reason.empty() ? "" : "; ",
                               transport_name(transport), one.error().message);
  }
  return fail(ErrorCode::unsupported, "nothing carries messages between the GPUs: {}", made.reason);
}

}  // namespace tetrad::collectives
