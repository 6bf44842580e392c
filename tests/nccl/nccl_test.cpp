// NCCL and RCCL as they are loaded and asked: the real loader on libraries made for it, each in a
// process of its own, since a library stays loaded; and NVIDIA's, where this machine has it.

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <string>
#include <thread>

#include "base/told_by_child_for_tests.h"
#include "collectives/device_communicator.h"
#include "collectives/nccl_library.h"
#include "gpu/emulated_device.h"
#include "gpu/forwarding_device_for_tests.h"
#include "kernels/gpu/emulated_kernels.h"
#include "parallel/in_process.h"

namespace tetrad::collectives {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// The emulation as if it were a card with a stream.
class CardWithStream final : public gpu::ForwardingDevice {
 public:
  explicit CardWithStream(std::string_view architecture)
      : ForwardingDevice(gpu::open_emulated_device("nvidia", gpu::emulated_nvidia_kernels())),
        architecture_(architecture) {}
  Result<gpu::DeviceInfo> info() override {
    TETRAD_ASSIGN(gpu::DeviceInfo info, ForwardingDevice::info());
    info.architecture = architecture_;
    return info;
  }
  Result<void*> driver_stream() override { return this; }
  /// As long as the library waits for a rank.
  Result<void> synchronize() override {
    TETRAD_TRY(ForwardingDevice::synchronize());
    while (is_waiting != nullptr && is_waiting() != 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return {};
  }
  int (*is_waiting)() = nullptr;

 private:
  std::string architecture_;
};

/// What body() says in a process that has the library and, in the environment, what is wrong.
std::string told_with(const char* library, const char* wrong,
                      const std::function<std::string()>& body) {
  return told_by_child([&]() -> std::string {
    setenv("FAKE_NCCL", wrong, 1);
    if (library != nullptr && dlopen(library, RTLD_NOW | RTLD_LOCAL) == nullptr)
      return "the library is not there";
    return body();
  });
}

/// The name of what was made and what it was asked, or the error.
std::string told_by_one_rank(const char* library, const char* wrong, const char* architecture) {
  return told_with(library, wrong, [&]() -> std::string {
    CardWithStream device(architecture);
    auto kernels = gpu::GpuKernels::create(device).value();
    const auto ranks = parallel::make_in_process_ranks(1);
    std::string told;
    {
      auto made = make_device_communicator(kernels, *ranks[0], {.transport = Transport::nccl});
      if (!made) {
        told = made.error().message;
      } else {
        const auto checked = made->communicator->wait();
        told = checked ? std::string(made->communicator->name()) : checked.error().message;
      }
    }
    const auto calls = reinterpret_cast<const char* (*)()>(
        dlsym(dlopen(library, RTLD_NOW | RTLD_LOCAL), "fake_nccl_calls"));
    return told + "|" + calls();
  });
}

// A communicator is made, tried out with three rounds of three lengths, and ended.
TEST(Nccl, WorksWithOneRank) {
  std::string wanted = "version id init ";
  for (int i = 0; i < 9; ++i)
    wanted += "sum gather ";
  wanted += "destroy ";
  EXPECT_EQ(told_by_one_rank(FAKE_NCCL, "", "sm_90"), "NCCL 2.28.9|" + wanted);
  EXPECT_EQ(told_by_one_rank(FAKE_RCCL, "", "gfx1201"), "RCCL 2.28.9|" + wanted);
}

TEST(Nccl, SaysWhatItSays) {
  EXPECT_THAT(told_by_one_rank(FAKE_NCCL, "finds no network", "sm_90"),
              AllOf(HasSubstr("nothing carries messages between the GPUs: nccl: "
                              "ncclGetUniqueId: unhandled system error; NCCL_DEBUG=INFO in the "
                              "environment says more"),
                    testing::EndsWith("|version id ")));
  EXPECT_THAT(told_by_one_rank(FAKE_NCCL, "cannot begin", "sm_90"),
              HasSubstr("ncclCommInitRank: unhandled system error, no route to rank 1"));
}

TEST(Nccl, IsTriedOut) {
  EXPECT_THAT(told_by_one_rank(FAKE_NCCL, "adds wrongly", "sm_90"),
              HasSubstr("nccl: value 6 of 7 of a sum was "));
}

// After an error of its own it is not asked to end in good order, which would wait for others.
TEST(Nccl, IsAbortedAfterAnError) {
  EXPECT_THAT(told_by_one_rank(FAKE_NCCL, "loses a rank", "sm_90"),
              AllOf(HasSubstr("ncclCommGetAsyncError: remote process exited"),
                    testing::EndsWith("|version id init sum abort ")));
}

// The library itself would wait for ever.
TEST(Nccl, IsEndedWhereARankDoesNotCome) {
  const auto told = [](std::chrono::milliseconds deadline, bool gives_up) {
    return told_with(FAKE_NCCL, "", [&]() -> std::string {
      CardWithStream device("sm_90");
      void* library = dlopen(FAKE_NCCL, RTLD_NOW | RTLD_LOCAL);
      device.is_waiting = reinterpret_cast<int (*)()>(dlsym(library, "fake_nccl_is_waiting"));
      auto kernels = gpu::GpuKernels::create(device).value();
      const auto ranks = parallel::make_in_process_ranks(1);
      const auto made =
          make_device_communicator(kernels, *ranks[0],
                                   {.transport = Transport::nccl, .deadline = deadline})
              .value();
      setenv("FAKE_NCCL", "never comes", 1);
      const gpu::DeviceAddress values = device.allocate(16).value();
      EXPECT_TRUE(made.communicator->all_reduce_sum(values, 4));
      std::thread other;
      if (gives_up) other = std::thread([&] { made.communicator->give_up(); });
      std::string said = made.communicator->wait().error().message;
      if (other.joinable()) other.join();
      // And it stays so.
      said += "|" + made.communicator->all_reduce_sum(values, 4).error().message;
      device.free(values);
      return said;
    });
  };
  constexpr auto kNever = std::chrono::minutes(10);
  EXPECT_EQ(told(std::chrono::milliseconds(200), false),
            "a message over NCCL 2.28.9 did not end within 200 ms|"
            "a message over NCCL 2.28.9 did not end within 200 ms");
  EXPECT_EQ(told(kNever, true),
            "a message over NCCL 2.28.9 was given up: another rank is lost|"
            "a message over NCCL 2.28.9 was given up: another rank is lost");
}

TEST(Nccl, IsRefusedWhereItIsTooOld) {
  EXPECT_THAT(told_by_one_rank(FAKE_NCCL, "is old", "sm_90"),
              HasSubstr("libnccl.so.2 is NCCL 2.10.5; 2.18 or later is needed: install libnccl2"));
  EXPECT_THAT(told_by_one_rank(FAKE_OLD_NCCL, "", "sm_90"),
              HasSubstr("libnccl.so.2 is too old: it lacks ncclAllGather; install a newer one"));
}

TEST(Nccl, IsNotFound) {
  EXPECT_THAT(told_with(nullptr, "",
                        [] {
                          const auto opened = NcclLibrary::open("gfx1201");
                          return opened ? std::string() : opened.error().message;
                        }),
              testing::AnyOf("", HasSubstr("librccl.so.1 was not found; install rccl of ROCm")));
}

TEST(Nccl, OfThisMachineIsUnderstood) {
  const auto told = told_with(nullptr, "", [] {
    const auto opened = NcclLibrary::open("sm_90");
    return opened ? opened->name() : opened.error().message;
  });
  if (told.find("was not found") != std::string::npos) GTEST_SKIP() << told;
  EXPECT_THAT(told, testing::MatchesRegex("NCCL 2\\.[0-9]+\\.[0-9]+"));
}

}  // namespace
}  // namespace tetrad::collectives
