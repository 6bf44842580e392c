// The drivers where there are any; without, what one is told.

#include "gpu/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <numeric>

#include "gpu/ptx_header.h"
#include "gpu/shared_library.h"

namespace tetrad::gpu {
namespace {

using testing::HasSubstr;

// y[i] *= s for i < n, of Args {float* y; int n; float s;}.
constexpr std::string_view kScalePtx = R"(
.version 7.8
.target sm_90
.address_size 64
.visible .entry scale(.param .align 8 .b8 arguments[16])
{
  .reg .pred %p;
  .reg .b32 %i, %n, %t, %b, %w;
  .reg .f32 %s, %y;
  .reg .b64 %a, %o;
  griddepcontrol.wait;
  ld.param.u64 %a, [arguments];
  ld.param.u32 %n, [arguments+8];
  ld.param.f32 %s, [arguments+12];
  mov.u32 %t, %tid.x;
  mov.u32 %b, %ctaid.x;
  mov.u32 %w, %ntid.x;
  mad.lo.s32 %i, %b, %w, %t;
  setp.ge.s32 %p, %i, %n;
  @%p bra done;
  cvta.to.global.u64 %a, %a;
  mul.wide.s32 %o, %i, 4;
  add.u64 %a, %a, %o;
  ld.global.f32 %y, [%a];
  mul.f32 %y, %y, %s;
  st.global.f32 [%a], %y;
done:
  ret;
}
)";

struct ScaleArguments {
  DeviceAddress y;
  int32_t n;
  float s;
};

constexpr int kNumValues = 1000;
constexpr LaunchShape kScaleShape{.grid_x = 8, .threads = 128};

class CudaDevice : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = open_cuda_device({&kScalePtx, 1});
    // No driver, no GPU, one that does not work, or is too old for the kernel.
    if (!opened && opened.error().code != ErrorCode::internal)
      GTEST_SKIP() << opened.error().message;
    ASSERT_TRUE(opened) << opened.error().message;
    device_ = std::move(*opened);
  }

  void upload() {
    std::iota(values_.begin(), values_.end(), 0.0F);
    auto allocated = device_->allocate(sizeof values_);
    ASSERT_TRUE(allocated) << allocated.error().message;
    y_ = *allocated;
    ASSERT_TRUE(device_->copy_to_device(y_, values_.data(), sizeof values_));
  }

  Result<void> scale(float by, LaunchShape shape = kScaleShape) {
    TETRAD_ASSIGN(const Kernel kernel, device_->kernel("scale"));
    const ScaleArguments arguments{.y = y_, .n = kNumValues, .s = by};
    return device_->launch(kernel, shape, &arguments, sizeof arguments);
  }

  void expect_scaled_by(float factor) {
    std::array<float, kNumValues> got{};
    ASSERT_TRUE(device_->copy_to_host(got.data(), y_, sizeof got));
    const auto waited = device_->synchronize();
    ASSERT_TRUE(waited) << waited.error().message;
    for (int i = 0; i < kNumValues; ++i)
      ASSERT_EQ(got[i], static_cast<float>(i) * factor) << i;
    device_->free(y_);
  }

  std::unique_ptr<Device> device_;
  std::array<float, kNumValues> values_{};
  DeviceAddress y_ = 0;
};

TEST_F(CudaDevice, SaysWhatItIs) {
  const auto info = device_->info();
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_THAT(info->architecture, testing::StartsWith("sm_"));
  EXPECT_THAT(info->driver, testing::StartsWith("CUDA 1"));
  EXPECT_GT(info->num_multiprocessors, 1);
  EXPECT_GE(info->l2_bytes, 1 << 20);
  EXPECT_GE(info->shared_bytes_per_block, 48 << 10);
  EXPECT_GT(info->free_bytes, 0);
  EXPECT_GE(info->total_bytes, info->free_bytes);
}

TEST_F(CudaDevice, FillsAndCopies) {
  const auto memory = device_->allocate(4096);
  ASSERT_TRUE(memory) << memory.error().message;
  EXPECT_EQ(*memory % 256, 0U);
  const auto pinned = device_->allocate_pinned(4096);
  ASSERT_TRUE(pinned) << pinned.error().message;
  std::memset(*pinned, 1, 4096);
  ASSERT_TRUE(device_->copy_to_device(*memory, *pinned, 4096));
  ASSERT_TRUE(device_->fill(*memory + 100, 7, 200));
  ASSERT_TRUE(device_->copy_to_host(*pinned, *memory, 4096));
  ASSERT_TRUE(device_->synchronize());
  for (int i = 0; i < 4096; ++i)
    ASSERT_EQ(std::to_integer<int>((*pinned)[i]), i >= 100 && i < 300 ? 7 : 1) << i;
  device_->free(*memory);
  device_->free_pinned(*pinned);
  EXPECT_TRUE(device_->synchronize());
}

TEST_F(CudaDevice, LaunchesInOrder) {
  upload();
  for (const float by : {2.0F, 4.0F, 0.5F})
    ASSERT_TRUE(scale(by));
  expect_scaled_by(4);
}

TEST_F(CudaDevice, GivesAllSharedMemory) {
  upload();
  LaunchShape shape = kScaleShape;
  shape.shared_bytes = static_cast<uint32_t>(device_->info()->shared_bytes_per_block);
  const auto launched = scale(2, shape);
  ASSERT_TRUE(launched) << launched.error().message;
  expect_scaled_by(2);
}

TEST_F(CudaDevice, RepeatsAGraph) {
  upload();
  ASSERT_TRUE(device_->begin_graph());
  EXPECT_FALSE(device_->begin_graph());
  ASSERT_TRUE(scale(2));
  ASSERT_TRUE(scale(2));
  const auto time = device_->record_time();
  ASSERT_FALSE(time);
  EXPECT_THAT(time.error().message, HasSubstr("record_time: not between"));
  const auto graph = device_->end_graph();
  ASSERT_TRUE(graph) << graph.error().message;
  ASSERT_TRUE(device_->launch(**graph));
  ASSERT_TRUE(device_->launch(**graph));
  expect_scaled_by(16);
}

TEST_F(CudaDevice, TakesTimes) {
  upload();
  EXPECT_EQ(device_->record_time().value(), 0);
  ASSERT_TRUE(scale(2));
  EXPECT_EQ(device_->record_time().value(), 1);
  const auto seconds = device_->seconds_between(0, 1);
  ASSERT_TRUE(seconds) << seconds.error().message;
  EXPECT_GT(*seconds, 0);
  EXPECT_FALSE(device_->seconds_between(0, 2));
  device_->forget_times();
  EXPECT_EQ(device_->record_time().value(), 0);
  expect_scaled_by(2);
}

TEST_F(CudaDevice, NamesWhatItDoesNotHave) {
  const auto kernel = device_->kernel("shrink");
  ASSERT_FALSE(kernel);
  EXPECT_EQ(kernel.error().code, ErrorCode::not_found);
  EXPECT_THAT(kernel.error().message, HasSubstr("shrink"));

  const auto memory = device_->allocate(int64_t{1} << 50);
  ASSERT_FALSE(memory);
  EXPECT_EQ(memory.error().code, ErrorCode::resource_exhausted);
  EXPECT_THAT(memory.error().message, HasSubstr("1,125,899,906,842,624 bytes"));
  EXPECT_THAT(memory.error().message, HasSubstr("are free"));

  const auto other = open_cuda_device({&kScalePtx, 1}, 1000);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::not_found);
}

TEST_F(CudaDevice, ShowsThePtxCompilersComplaint) {
  std::string wrong(kScalePtx);
  wrong.replace(wrong.find("mul.f32"), 7, "mul.f33");
  std::string_view ptx = wrong;
  const auto opened = open_cuda_device({&ptx, 1});
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, HasSubstr("f33"));

  wrong = kScalePtx;
  wrong.replace(wrong.find("7.8"), 3, "77.8");
  ptx = wrong;
  EXPECT_FALSE(open_cuda_device({&ptx, 1}));
}

bool is_on_this_machine(std::initializer_list<const char*> libraries) {
  return SharedLibrary::open({libraries.begin(), libraries.size()}).has_value();
}

TEST(OpenDevice, TellsOfAMissingNvidiaDriver) {
  if (is_on_this_machine({"libcuda.so.1"})) GTEST_SKIP() << "libcuda.so.1 is here";
  const auto opened = open_cuda_device({&kScalePtx, 1});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::not_found);
  EXPECT_THAT(opened.error().message,
              HasSubstr("no NVIDIA driver: libcuda.so.1 was not found; install the NVIDIA driver, "
                        "or use --device cpu"));
}

TEST(OpenDevice, TellsOfAMissingHipRuntime) {
  if (is_on_this_machine({"libamdhip64.so.7", "libamdhip64.so.6"}))
    GTEST_SKIP() << "libamdhip64 is here";
  const auto opened = open_hip_device({});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::not_found);
  EXPECT_THAT(opened.error().message, HasSubstr("install ROCm 6.4 or later, or use --device cpu"));
}

TEST(OpenDevice, TellsOfAHipRuntimeThatRunsNoneOfTheKernels) {
  if (!is_on_this_machine({"libamdhip64.so.7", "libamdhip64.so.6"}))
    GTEST_SKIP() << "no HIP runtime here";
  const auto opened = open_hip_device({});  // of none
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, HasSubstr("--device cpu"));
}

TEST(OneSharedLibrary, TakesTheFirstThatIsThere) {
  constexpr const char* kNames[] = {"libnot-on-any-machine.so.1", "libc.so.6"};
  auto library = SharedLibrary::open(kNames);
  ASSERT_TRUE(library) << library.error().message;
  EXPECT_EQ(library->name(), "libc.so.6");

  LibraryFunction<int> absolute;
  library->find("abs", absolute);
  ASSERT_NE(absolute.call, nullptr);
  EXPECT_EQ(absolute.call(-3), 3);
  EXPECT_STREQ(absolute.name, "abs");

  LibraryFunction<> optional;
  library->find_optional("tetrad_has_no_such_thing", optional);
  EXPECT_EQ(optional.call, nullptr);
  EXPECT_TRUE(library->check_all_found("use another"));
}

TEST(OneSharedLibrary, SaysWhichFunctionsItLacks) {
  constexpr const char* kNames[] = {"libc.so.6"};
  auto library = SharedLibrary::open(kNames);
  ASSERT_TRUE(library) << library.error().message;
  LibraryFunction<> function;
  library->find("tetrad_first", function);
  library->find("abs", function);
  library->find("tetrad_second", function);
  const auto found = library->check_all_found("use another");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::unsupported);
  EXPECT_THAT(found.error().message, HasSubstr("libc.so.6"));
  EXPECT_THAT(found.error().message, HasSubstr("lacks tetrad_first, tetrad_second"));
}

TEST(OneSharedLibrary, NamesAllThatItLookedFor) {
  constexpr const char* kNames[] = {"libnot-on-any-machine.so.2", "libnot-on-any-machine.so.1"};
  const auto library = SharedLibrary::open(kNames);
  ASSERT_FALSE(library);
  EXPECT_EQ(library.error().code, ErrorCode::not_found);
  EXPECT_THAT(library.error().message, HasSubstr("machine.so.2"));
  EXPECT_THAT(library.error().message, HasSubstr("machine.so.1"));
}

TEST(ReadPtxHeader, FindsVersionAndTarget) {
  const PtxHeader header = read_ptx_header(
      "//\n// .version 1.0\n//\n.version 8.3\n.target sm_90a, debug\n.address_size 64\n");
  EXPECT_EQ(header.version, "8.3");
  EXPECT_EQ(header.target, "sm_90a");
  EXPECT_EQ(read_ptx_header(".target\tsm_75").target, "sm_75");
  EXPECT_EQ(read_ptx_header(kScalePtx).version, "7.8");
}

TEST(PtxFor, PrefersWhatOneArchitectureAloneHas) {
  constexpr std::string_view kOne = ".target sm_90a\n";
  constexpr std::string_view kAll = ".target sm_90\n";
  constexpr std::string_view kOlder = ".target sm_75\n";
  constexpr std::string_view kTexts[] = {kAll, kOne, kOlder};
  EXPECT_EQ(ptx_for("sm_90", kTexts), kOne);
  EXPECT_EQ(ptx_for("sm_100", kTexts), kAll);
  EXPECT_EQ(ptx_for("sm_9", kTexts), kAll);
  EXPECT_EQ(ptx_for("sm_100", {&kOne, 1}), "");
  EXPECT_EQ(ptx_for("sm_90", {}), "");
}

TEST(ReadPtxHeader, TakesWhatIsNoPtx) {
  for (const std::string_view text : {"", "\n\n", ".version", ".version \n.target"}) {
    EXPECT_EQ(read_ptx_header(text).version, "") << text;
    EXPECT_EQ(read_ptx_header(text).target, "") << text;
  }
}

}  // namespace
}  // namespace tetrad::gpu
