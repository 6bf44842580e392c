// What one is told where the driver is not as it should be: the real loader on drivers made for it,
// each in a process of its own, since a driver stays loaded.

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "base/told_by_child_for_tests.h"
#include "gpu/device.h"

namespace tetrad::gpu {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr std::string_view kPtx = ".version 8.3\n.target sm_90\n.address_size 64\n";
using Asked = Result<void> (*)(Device&);

Result<void> ask_nothing(Device&) {
  return {};
}

Result<void> use_device(bool is_hip, int index, Asked ask) {
  const CodeObject object{.architecture = "gfx1201", .bytes = std::as_bytes(std::span("code"))};
  TETRAD_ASSIGN(auto device, is_hip ? open_hip_device({&object, 1}, index)
                                    : open_cuda_device({&kPtx, 1}, index));
  return ask(*device);
}

/// The error's number and message. Libraries are found by the name that they give themselves, so
/// that one loaded from anywhere is the driver.
std::string told_by(const char* library, const char* wrong, Asked ask = ask_nothing,
                    int index = 0) {
  return told_by_child([&]() -> std::string {
    setenv("FAKE_DRIVER", wrong, 1);
    if (dlopen(library, RTLD_NOW | RTLD_LOCAL) == nullptr) return "the library is not there";
    const auto used =
        use_device(std::string_view(library).find("hip") != std::string_view::npos, index, ask);
    return used ? "all is well"
                : fmt::format("{} {}", static_cast<int>(used.error().code), used.error().message);
  });
}

std::string told(ErrorCode code) {
  return fmt::format("{} ", static_cast<int>(code));
}

TEST(GpuDriverErrors, NoGpu) {
  for (const char* wrong : {"finds none", "has none"}) {
    EXPECT_EQ(told_by(FAKE_CUDA, wrong),
              told(ErrorCode::not_found) +
                  "no NVIDIA GPU: the driver is there but finds none; see what nvidia-smi says, or "
                  "use --device cpu");
    EXPECT_EQ(told_by(FAKE_AMDHIP, wrong),
              told(ErrorCode::not_found) +
                  "no AMD GPU: the driver is there but finds none; see what rocminfo says and "
                  "whether this user is in the groups render and video, or use --device cpu");
  }
  EXPECT_EQ(
      told_by(FAKE_CUDA, "", ask_nothing, 3),
      told(ErrorCode::not_found) + "there is no NVIDIA GPU 3: this machine has 2, counted from 0");
}

TEST(GpuDriverErrors, ADriverThatDoesNotWork) {
  EXPECT_EQ(told_by(FAKE_CUDA, "is broken"),
            told(ErrorCode::io) + "NVIDIA driver: cuInit: UNKNOWN, unknown error");
  EXPECT_EQ(told_by(FAKE_AMDHIP, "is broken"),
            told(ErrorCode::io) + "AMD driver: hipInit: UNKNOWN, unknown error");
}

TEST(GpuDriverErrors, ADriverThatIsTooOld) {
  EXPECT_EQ(told_by(FAKE_CUDA, "is too old"),
            told(ErrorCode::unsupported) +
                "the NVIDIA driver is too old: it is that of CUDA 12.0, and the kernels need one "
                "that takes PTX 8.3; install a newer driver, or use --device cpu");
  EXPECT_THAT(told_by(FAKE_CUDA, "runs none"),
              AllOf(StartsWith(told(ErrorCode::unsupported) +
                               "kernels of PTX 8.3 for sm_90 on Fake 9000 (sm_90, CUDA 12.0)"),
                    HasSubstr("use --device cpu")));
  EXPECT_THAT(told_by(FAKE_AMDHIP, "runs none"),
              AllOf(StartsWith(told(ErrorCode::unsupported) + "no kernels for Fake 9000 (HIP 6.2)"),
                    HasSubstr("gfx12 needs ROCm 6.4 or later; use --device cpu; gfx1201: ")));
}

TEST(GpuDriverErrors, ADriverThatLacksFunctions) {
  EXPECT_EQ(told_by(FAKE_OLD_CUDA, ""),
            told(ErrorCode::unsupported) +
                "libcuda.so.1 is too old: it lacks cuStreamBeginCapture_v2, "
                "cuGraphInstantiateWithFlags; install a newer one, or use --device cpu");
  EXPECT_EQ(told_by(FAKE_OLD_AMDHIP, ""),
            told(ErrorCode::unsupported) +
                "libamdhip64.so.7 is too old: it lacks hipStreamBeginCapture, "
                "hipGraphInstantiateWithFlags; install a newer one, or use --device cpu");
}

Result<void> allocate_much(Device& device) {
  TETRAD_TRY(device.allocate(6'000'000'000));
  return {};
}
Result<void> allocate_much_pinned(Device& device) {
  TETRAD_TRY(device.allocate_pinned(6'000'000'000));
  return {};
}

TEST(GpuDriverErrors, OutOfMemory) {
  EXPECT_EQ(
      told_by(FAKE_CUDA, "", allocate_much),
      told(ErrorCode::resource_exhausted) +
          "6,000,000,000 bytes of GPU memory: cuMemAlloc_v2: OUT_OF_MEMORY, out of memory; of "
          "the GPU's 34,000,000,000 bytes 5,000,000,000 are free");
  EXPECT_THAT(told_by(FAKE_AMDHIP, "", allocate_much),
              AllOf(HasSubstr("6,000,000,000 bytes of GPU memory: hipMalloc: OUT_OF_MEMORY"),
                    HasSubstr("5,000,000,000 are free")));
  // The GPU's memory has nothing to do with it.
  EXPECT_THAT(told_by(FAKE_CUDA, "", allocate_much_pinned),
              AllOf(StartsWith(told(ErrorCode::resource_exhausted) +
                               "6,000,000,000 bytes of page-locked host memory: cuMemHostAlloc: "
                               "OUT_OF_MEMORY, out of memory; of this machine's memory "),
                    HasSubstr(" are free"), testing::Not(HasSubstr("of the GPU's"))));
}

Result<void> export_and_open(Device& device) {
  DeviceAddress shared = 0x5000;
  // The fake CUDA allocates nothing.
  if (auto allocated = device.sharing().allocate_shared(100); allocated) shared = *allocated;
  if (shared != 0x5000) return fail(ErrorCode::internal, "not what was allocated");
  TETRAD_ASSIGN(const MemoryHandle handle, device.sharing().export_memory(shared));
  TETRAD_ASSIGN(const DeviceAddress opened, device.sharing().open_memory(handle));
  if (opened != 0x7000) return fail(ErrorCode::internal, "not what was opened");
  device.sharing().close_memory(opened);
  return {};
}

TEST(GpuDriverErrors, MemoryThatIsNotShared) {
  for (const char* library : {FAKE_CUDA, FAKE_AMDHIP}) {
    EXPECT_EQ(told_by(library, "", export_and_open), "all is well");
    EXPECT_THAT(
        told_by(library, "exports nothing", export_and_open),
        AllOf(StartsWith(told(ErrorCode::unsupported) +
                         "memory of Fake 9000 (0000:1B:00.0) cannot be shared with other "
                         "processes: "),
              HasSubstr("IpcGetMemHandle: UNKNOWN, unknown error; host memory or NCCL can")));
    EXPECT_THAT(told_by(library, "opens nothing", export_and_open),
                AllOf(HasSubstr("Fake 9000 (0000:1B:00.0) cannot open memory of another process: "),
                      HasSubstr("IpcOpenMemHandle"), HasSubstr("CUDA_VISIBLE_DEVICES")));
  }
  EXPECT_EQ(told_by(FAKE_NO_SHARING_CUDA, "", export_and_open),
            told(ErrorCode::unsupported) +
                "memory of Fake 9000 cannot be shared with other processes: the GPU's driver has "
                "no cuIpcGetMemHandle: install a newer one; host memory or NCCL can carry the "
                "messages");
}

Result<void> enable_peers(Device& device) {
  TETRAD_TRY(device.sharing().enable_peer_access(0));  // itself
  return device.sharing().enable_peer_access(1);
}

TEST(GpuDriverErrors, PeersThatAreNone) {
  for (const char* library : {FAKE_CUDA, FAKE_AMDHIP}) {
    EXPECT_EQ(told_by(library, "", enable_peers), "all is well");
    EXPECT_EQ(told_by(library, "has peers already", enable_peers), "all is well");
    EXPECT_THAT(told_by(library, "has no link", enable_peers),
                StartsWith(told(ErrorCode::unsupported) +
                           "GPU 0, Fake 9000 (0000:1B:00.0), cannot use memory of GPU 1 "
                           "(0000:9A:00.0): there is neither a link nor peer-to-peer access"));
    EXPECT_THAT(told_by(library, "refuses peers", enable_peers),
                HasSubstr("GPU 1 (0000:9A:00.0): enabling peer access: UNKNOWN, unknown error"));
  }
  EXPECT_THAT(told_by(FAKE_NO_SHARING_CUDA, "", enable_peers),
              HasSubstr("has no cuDeviceCanAccessPeer: install a newer one"));
}

Result<void> map_host(Device& device) {
  static std::byte memory[4096];
  TETRAD_ASSIGN(const DeviceAddress address, device.sharing().map_host_memory(memory));
  device.sharing().unmap_host_memory(memory);
  if (address != reinterpret_cast<DeviceAddress>(memory))
    return fail(ErrorCode::internal, "another address");
  return {};
}

TEST(GpuDriverErrors, HostMemoryThatIsNotMapped) {
  for (const char* library : {FAKE_CUDA, FAKE_AMDHIP}) {
    EXPECT_EQ(told_by(library, "", map_host), "all is well");
    EXPECT_THAT(
        told_by(library, "maps nothing", map_host),
        HasSubstr("4,096 bytes of host memory for Fake 9000 (0000:1B:00.0) (see ulimit -l): "));
  }
}

TEST(GpuDriverErrors, NothingIsWrong) {
  EXPECT_EQ(told_by(FAKE_CUDA, ""), "all is well");
  EXPECT_EQ(told_by(FAKE_AMDHIP, ""), "all is well");
}

}  // namespace
}  // namespace tetrad::gpu
